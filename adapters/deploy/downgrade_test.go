package deploy_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/matryer/is"

	"elemental/adapters/deploy"
	"elemental/core"
	"elemental/ports"
)

// labelled are images that say which version they are.
type labelled struct {
	ports.Images
	versions map[string]string // of a reference
}

func (l *labelled) Resolve(ctx context.Context, reference, architecture string) (ports.Image, error) {
	image, err := l.Images.Resolve(ctx, reference, architecture)
	image.Version = l.versions[reference]
	return image, err
}

var errOlder = core.Failure{Class: core.FailureInvalid, Reason: core.ReasonPolicyDenied, Message: "no"}

func TestAHostMayRefuseOlderImages(t *testing.T) {
	var why []string
	var shelf *labelled
	h := newHost(t, func(c *deploy.Config) {
		shelf = &labelled{Images: c.Images, versions: map[string]string{}}
		c.Images = shelf
		c.Downgrade = func(clause string) error {
			why = append(why, clause)
			return errOlder
		}
	})
	put := func(tag, version string) string {
		reference := h.put(tag, system(t, tag))
		shelf.versions[reference] = version
		return reference
	}
	old := put("old", "1.9")
	first := put("first", "1.10.0")
	h.install(first) // There is nothing that it could be older than.
	h.is.Equal(len(why), 0)

	for _, c := range []struct{ tag, version, says string }{
		{"silent", "", "no label org.opencontainers.image.version"},
		{"nightly", "nightly", `"nightly", which can't be compared with version "1.10.0"`},
		{"candidate", "1.10-rc.1", `"1.10-rc.1", which is older than version "1.10.0"`},
		{"older", "v1.2", "older"},
	} {
		why = nil
		err := h.stage(put(c.tag, c.version))
		h.is.True(errors.Is(err, errOlder))
		h.is.Equal(len(why), 1)
		h.is.True(strings.Contains(why[0], c.says))
	}
	_, err := os.Stat(h.path("staging", "blobs"))
	h.is.True(err != nil) // Nothing was fetched.

	why = nil
	h.mustStage(put("same", "v1.10"))
	h.update(put("newer", "1.11"))
	h.is.Equal(len(why), 0)
	h.is.True(h.stage(old) != nil)
	h.is.True(h.stage(first) != nil) // Although it is here.
	h.is.Equal(len(why), 2)
	h.is.NoErr(h.Rollback(t.Context())) // The host's own way back is no request.
}

func TestAnImageThatWasStagedBeforeLabelsWereKeptIsNotCompared(t *testing.T) {
	var why []string
	var shelf *labelled
	h := newHost(t, func(c *deploy.Config) {
		shelf = &labelled{Images: c.Images, versions: map[string]string{}}
		c.Images = shelf
		c.Downgrade = func(clause string) error {
			why = append(why, clause)
			return errOlder
		}
	})
	first, next := h.put("first", system(t, "first")), h.put("next", system(t, "next"))
	h.install(first)
	shelf.versions[first], shelf.versions[next] = "1", "2"
	h.is.True(errors.Is(h.stage(next), errOlder))
	h.is.True(strings.Contains(why[0], "was not known to have a label"))
	// Asked for again, it is looked at again, and nothing else changes.
	h.mustStage(first)
	h.mustStage(next)
	h.is.Equal(len(why), 1)
}

func TestVersionsAreCompared(t *testing.T) {
	for _, c := range []struct {
		a, b  string
		order int // 2: they can't be
	}{
		{"1.2.3", "1.2.3", 0}, {"v1.2.3", "1.2.3", 0}, {"1.2", "1.2.0", 0}, {"1.2+a", "1.2+b", 0}, {"01.2", "1.2", 0},
		{"1.9", "1.10", -1}, {"20260101", "20251231", 1}, {"2026.1", "6.2", 1},
		{"99999999999999999999999999", "100000000000000000000000000", -1},
		{"1.2-rc.1", "1.2", -1}, {"1.2", "1.2-beta", 1}, {"1.2-rc.2", "1.2-rc.10", -1}, {"1.2-alpha", "1.2-beta", -1},
		{"1.2-rc", "1.2-rc.1", -1}, {"1.2-1", "1.2-a", -1}, {"1.2-3", "1.2-4", -1}, {"1.3-rc.1", "1.2", 1},
		{"1.2-3", "1.2", 2}, {"1.2", "1.2-3", 2}, {"", "1", 2}, {"1", "latest", 2}, {"1..2", "1", 2}, {"1.2-", "1.2", 2},
		{"1.2-é", "1.2", 2}, {"vv1", "1", 2}, {"-1", "1", 2}, {strings.Repeat("1", 200), "1", 2}, {"1.x", "1.x", 2},
	} {
		is := is.New(t)
		order, ordered := deploy.CompareVersions(c.a, c.b)
		if !ordered {
			order = 2
		}
		if order != c.order {
			t.Errorf("%q against %q is %d, and should be %d", c.a, c.b, order, c.order)
		}
		back, too := deploy.CompareVersions(c.b, c.a)
		is.Equal(ordered, too)
		is.True(!ordered || back == -order)
	}
}

func FuzzVersions(f *testing.F) {
	f.Add("1.2-rc.1", "v1.2+build")
	f.Fuzz(func(t *testing.T, a, b string) {
		order, ordered := deploy.CompareVersions(a, b)
		back, too := deploy.CompareVersions(b, a)
		if ordered != too || ordered && order != -back {
			text, _ := json.Marshal([]string{a, b})
			t.Fatalf("%s: %d and back %d", text, order, back)
		}
	})
}
