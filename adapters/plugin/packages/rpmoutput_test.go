package packages

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"

	"elemental/core"
	"elemental/ports"
)

// What can't be brought about in a root of its own was recorded: each file says what it is of.
func TestRecordedFailures(t *testing.T) {
	for _, c := range []struct {
		file, reason, words string
		status              int
	}{
		{"dnf/script.txt", reasonScript, "the package moon-1.0-1.noarch failed; its last words: \"warning: %post(moon-1.0-1.noarch) scriptlet failed, exit status 3\"", 0},
		{"dnf/diskfull.txt", reasonDiskFull, "needs 19MB more space on the / filesystem: make room", 1},
		{"zypper/script.xml", reasonScript, "the package moon-1.0-1.noarch failed", zypperScript},
		{"zypper/diskfull.xml", reasonDiskFull, "needs 15MB more space on the / filesystem: make room", 8},
	} {
		t.Run(c.file, func(t *testing.T) {
			is := is.New(t)
			text, err := os.ReadFile(filepath.Join("testdata", c.file))
			is.NoErr(err)
			if c.status != 0 {
				err = errors.New("it failed")
			}
			var reported []ports.Progress
			listen := func(p ports.Progress) { reported = append(reported, p) }
			if strings.HasPrefix(c.file, "dnf/") {
				said := &dnfOutput{step: stepInstalling, report: listen}
				for line := range strings.Lines(string(text)) {
					said.line(strings.TrimSpace(line))
				}
				err = said.failure(err)
			} else {
				said := &zypperOutput{step: stepInstalling, report: listen}
				for line := range strings.Lines(string(text)) {
					said.line(strings.TrimSpace(line))
				}
				said.read(text)
				err = said.failure(c.status, err)
				is.True(len(reported) > 3)
			}
			var failure core.Failure
			is.True(errors.As(err, &failure))
			is.Equal(failure.Reason, c.reason)
			is.True(strings.Contains(failure.Message, c.words))
		})
	}
}

func TestSameRPM(t *testing.T) {
	is := is.New(t)
	z, d := &zypper{}, &dnf{}
	for _, c := range []struct {
		installed, asked string
		dnf, zypper      bool
	}{
		{"1.0-1", "1.0", true, true},
		{"1.0-1", "1.0-1", true, true},
		{"1.0-1", "1.0-2", false, false},
		{"1.0-1", "0:1.0", true, true},
		{"1:1.0-1", "1.0", true, false}, // To zypper, no epoch is the epoch 0.
		{"1:1.0-1", "1:1.0-1", true, true},
		{"1:1.0-1", "2:1.0", false, false},
		{"1.0~rc1-1.el9", "1.0~rc1-1.el9", true, true},
		{"1.0.1-1", "1.0", false, false},
	} {
		is.Equal(d.Same(c.installed, c.asked), c.dnf)
		is.Equal(z.Same(c.installed, c.asked), c.zypper)
	}
}

// A dnf that is no program of Python can't be given a command of Python.
func TestDNF5(t *testing.T) {
	is := is.New(t)
	path := filepath.Join(t.TempDir(), "dnf")
	is.NoErr(os.WriteFile(path, []byte("\x7fELF\x02\x01\n"), 0o755))
	_, err := interpreter(path)
	var failure core.Failure
	is.True(errors.As(err, &failure))
	is.Equal(failure.Reason, "DNFNotSupported")
	is.NoErr(os.WriteFile(path, []byte("#!/usr/libexec/platform-python -s\n"), 0o755))
	python, err := interpreter(path)
	is.NoErr(err)
	is.Equal(python, "/usr/libexec/platform-python")
}
