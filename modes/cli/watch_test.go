package cli

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"elemental/core"
	"elemental/ports"
	"elemental/ports/portstest"
)

// watches follows hosts a and b while steps happen one after the other, and returns what is shown and the status.
func watches(t *testing.T, output string, terminal int, steps ...func(*desk)) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	d := &desk{Operator: &portstest.Operator{}}
	d.Put(t, workingHost("a"), nil, "")
	d.Put(t, runningHost("b"), nil, "")
	d.steps = append([]func(*desk){func(*desk) {}}, steps...)
	d.steps = append(d.steps, func(*desk) { cancel() })
	var out bytes.Buffer
	v := view{output: output, selection: ports.Selection{Kind: core.KindHost, Objects: output != outputTable}}
	hosts, err := d.List(ctx, v.selection)
	is.New(t).NoErr(err)
	err = watch(ctx, world{out: &out, errs: &out, now: func() time.Time { return noon }, terminal: terminal}, d, v, hosts)
	is.New(t).Equal(err.Error(), "") // nothing is wrong
	return out.String(), ended(err)
}

func changing(t *testing.T, host string, change func(*ports.Target)) func(*desk) {
	return func(d *desk) { d.Change(t, host, change) }
}

func TestWatchShowsRowsThatChange(t *testing.T) {
	is := is.New(t)
	out, status := watches(t, outputTable, 0,
		changing(t, "a", func(h *ports.Target) { h.System.BootID = "2" }), // no column has that
		changing(t, "a", func(h *ports.Target) { h.Created = noon.Add(-2 * time.Hour) }),
		changing(t, "a", func(h *ports.Target) { *h = fallenHost("a"); h.Kind, h.Namespace = core.KindHost, "default" }),
		func(d *desk) { d.Put(t, runningHost("new-and-long"), nil, "") },
		func(d *desk) { d.Delete(t, "a") },
	)
	is.Equal(status, exitInterrupted)
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	t.Log("\n" + out)
	is.Equal(len(lines), 6)
	is.True(strings.HasPrefix(lines[0], "NAME   PHASE"))
	is.True(strings.HasPrefix(lines[1], "a      Reconciling OS Version   False"))
	is.True(strings.HasPrefix(lines[2], "b      Running                  True"))
	is.True(strings.HasPrefix(lines[3], "a      Running                  False   v1        RolledBack   the boot loader fell back"))
	is.True(strings.HasPrefix(lines[4], "new-and-long   Running"))
	is.True(strings.HasPrefix(lines[5], "a              Deleted                  -       v1        RolledBack   - "))
}

func TestWatchShowsObjectsThatChange(t *testing.T) {
	is := is.New(t)
	steps := []func(*desk){
		changing(t, "a", func(h *ports.Target) { h.System.BootID = "2" }), // The fake's object does not have that.
		func(d *desk) { d.Put(t, runningHost("c"), nil, "") },
		func(d *desk) { d.Delete(t, "a") },
	}
	out, status := watches(t, outputName, 0, steps...)
	is.Equal(status, exitInterrupted)
	is.Equal(strings.Fields(strings.ReplaceAll(out, resourceName, "")), []string{"a", "b", "c", "a"})
	out, _ = watches(t, outputYAML, 0, steps...)
	is.Equal(strings.Count(out, "kind: ElementalHost"), 4)
	is.Equal(strings.Count(out, "\n---\n"), 3)
	out, _ = watches(t, outputJSON, 0, steps...)
	is.Equal(strings.Count(out, `"kind": "ElementalHost"`), 4)
	is.Equal(strings.Count(out, "List"), 0)
}

func TestWatchOfNothingYet(t *testing.T) {
	is := is.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	yard := &portstest.Operator{}
	var out bytes.Buffer
	d := &desk{Operator: yard, steps: []func(*desk){func(d *desk) { d.Delete(t, "a") }, func(*desk) { cancel() }}}
	yard.Put(t, runningHost("a"), nil, "")
	v := view{output: outputTable, selection: ports.Selection{Kind: core.KindHost}}
	is.Equal(ended(watch(ctx, world{out: &out, now: time.Now, terminal: 80}, d, v, nil)), exitInterrupted)
	lines := strings.Split(out.String(), "\n")
	is.True(strings.HasPrefix(lines[0], "NAME")) // once there is something in the columns
	is.True(strings.HasPrefix(lines[2], "a      Deleted"))

	d = &desk{Operator: yard}
	yard.Error = fmt.Errorf("listing the hosts: %w", ports.ErrDenied)
	_, errs, status := d.types(t, "hosts --watch")
	is.Equal(status, 1)
	is.Equal(errs, "listing the hosts: denied\n")
}
