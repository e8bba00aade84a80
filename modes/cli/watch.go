package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"elemental/ports"
)

// watch shows hosts as they stand, and then what changes with them until the context ends.
func watch(ctx context.Context, w world, operator ports.Operator, v view, hosts []ports.Target) error {
	var shown interface {
		begin([]ports.Target) error
		see(ports.Target) error
	} = &rowWatch{table: newTable(w, v), rows: map[string][]string{}}
	if v.output != outputTable && v.output != outputWide {
		shown = &objectWatch{world: w, output: v.output, objects: map[string][]byte{}}
	}
	if err := shown.begin(hosts); err != nil {
		return err
	}
	var failed error
	err := operator.Follow(ctx, v.selection, func(h ports.Target) bool {
		failed = shown.see(h)
		return failed == nil
	})
	return interrupted(errors.Join(failed, err))
}

func keyOf(h ports.Target) string { return h.Namespace + "/" + h.Name }

// isThere says that a sight shows the host itself, and not only that there is none any more.
func isThere(h ports.Target) bool { return !h.Gone || h.Generation > 0 }

// rowWatch shows the rows of a table that change.
type rowWatch struct {
	*table
	rows map[string][]string // as they were shown last
}

func (r *rowWatch) begin(hosts []ports.Target) error {
	for _, h := range hosts {
		r.rows[keyOf(h)] = r.row(h).cells
	}
	if len(hosts) == 0 {
		return nil // The columns are named once there is something in them.
	}
	return r.write(hosts)
}

func (r *rowWatch) see(h ports.Target) error {
	before, known := r.rows[keyOf(h)]
	if !isThere(h) {
		if !known {
			return nil
		}
		delete(r.rows, keyOf(h))
		return r.writeRow(r.deleted(before))
	}
	now := r.row(h)
	r.rows[keyOf(h)] = now.cells
	if known && r.alike(before, now.cells) {
		return nil
	}
	return r.writeRow(now)
}

// objectWatch shows the objects that change, each as a document of its own.
type objectWatch struct {
	world
	output  string
	objects map[string][]byte // as they were shown last
	begun   bool
}

func (o *objectWatch) begin(hosts []ports.Target) error {
	for _, h := range hosts {
		if err := o.see(h); err != nil {
			return err
		}
	}
	return nil
}

// see shows what is gone once more as it was last, as kubectl does.
func (o *objectWatch) see(h ports.Target) error {
	before, known := o.objects[keyOf(h)]
	switch {
	case !isThere(h) && !known:
		return nil
	case !isThere(h):
		delete(o.objects, keyOf(h))
		h.Object = before
	case known && bytes.Equal(before, h.Object):
		return nil
	default:
		o.objects[keyOf(h)] = slices.Clone(h.Object)
	}
	if o.output == outputName {
		_, err := fmt.Fprintln(o.out, resourceName+h.Name)
		return err
	}
	if o.begun && o.output == outputYAML {
		fmt.Fprintln(o.out, "---")
	}
	o.begun = true
	return writeObject(o.out, o.output, h)
}
