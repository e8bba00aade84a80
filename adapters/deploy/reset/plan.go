package reset

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// Action is what one step of a reset does.
type Action string

// The actions.
const (
	Keep     Action = "keep"     // give what lies in a former tree a second name in the fresh one
	Sync     Action = "sync"     // make all of it durable
	Exchange Action = "exchange" // let two folders change their names, at once
)

// Step is one thing done on the way from the former trees to the fresh ones.
type Step struct {
	Do   Action
	From string // of Keep: the former tree; of Exchange: the fresh one
	To   string // of Keep: the fresh tree; of Exchange: the former one; of Sync: the engine's root
	Path string // of Keep: what is kept, from the top of the tree
}

// String says what the step does, for the console.
func (s Step) String() string {
	switch s.Do {
	case Keep:
		return "keeping " + filepath.Join(s.From, s.Path)
	case Exchange:
		return fmt.Sprintf("exchanging %s and %s", s.To, s.From)
	default:
		return fmt.Sprintf("%s %s", s.Do, s.To)
	}
}

// Disk is what is true of a reset before anything is done.
type Disk struct {
	Root               string
	Record             Record
	EtcFresh, VarFresh bool // the fresh tree is in its place
}

// Fresh says that the reset was carried out.
func (d Disk) Fresh() bool { return d.EtcFresh && d.VarFresh }

// tree is one of the two that a reset exchanges.
type tree struct {
	name         string // from the engine's root, and the beginning of what is kept in it
	place, fresh string
	done         bool
}

// trees are in the order of their exchange. /etc goes first: should another deployment be booted in between, which has
// its own /etc, it finds nothing changed.
func (d Disk) trees() [2]tree {
	etc := Etc(d.Record.Deployment)
	return [2]tree{
		{"etc", filepath.Join(d.Root, etc), FreshEtc(Folder(d.Root)), d.EtcFresh},
		{"var", filepath.Join(d.Root, "var"), FreshVar(Folder(d.Root)), d.VarFresh},
	}
}

// Plan lists what carries out the reset from here on. It is pure: the same disk, the same steps. The former trees are
// changed by nothing but the exchange, so that they are whole whatever fails before it.
func Plan(d Disk) []Step {
	var steps, exchanges []Step
	for _, t := range d.trees() {
		if t.done {
			continue
		}
		for _, kept := range d.Record.Keep {
			// A record that someone wrote by hand must not make a whole tree of it, or lead out of one.
			if path, below := strings.CutPrefix(kept, t.name+"/"); below && filepath.IsLocal(path) && filepath.Clean(path) != "." {
				steps = append(steps, Step{Do: Keep, From: t.place, To: t.fresh, Path: path})
			}
		}
		exchanges = append(exchanges, Step{Do: Exchange, From: t.fresh, To: t.place})
	}
	if len(exchanges) == 0 {
		return nil
	}
	sync := Step{Do: Sync, To: d.Root}
	steps = append(steps, sync)
	steps = append(steps, exchanges...)
	return append(steps, sync)
}

// Undo lists what brings back the former trees where only one of them was exchanged: a new /etc with an old /var, or the
// other way round, is no system that anyone has tried.
func Undo(d Disk) []Step {
	if d.EtcFresh == d.VarFresh {
		return nil
	}
	var steps []Step
	for _, t := range d.trees() {
		if t.done {
			steps = append(steps, Step{Do: Exchange, From: t.fresh, To: t.place})
		}
	}
	return append(steps, Step{Do: Sync, To: d.Root})
}

// ErrLost says that a fresh tree is nowhere: there is nothing to reset to.
var ErrLost = errors.New("what the reset prepared is not on this disk any more")

// Look sees how far the reset of a record is on the disk. The error wraps ErrLost where a fresh tree is gone.
func Look(root string, record Record) (Disk, error) {
	d := Disk{Root: root, Record: record}
	for i, t := range d.trees() {
		number := [2]uint64{record.Etc, record.Var}[i]
		fresh, err := isIn(number, t)
		if err != nil {
			return d, err
		}
		if i == 0 {
			d.EtcFresh = fresh
		} else {
			d.VarFresh = fresh
		}
	}
	return d, nil
}

// isIn says whether the folder of a number is in its place, and not prepared any more.
func isIn(number uint64, t tree) (bool, error) {
	for _, at := range []string{t.place, t.fresh} {
		found, err := Inode(at)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("looking for the fresh /%s: %w", t.name, err)
		}
		if err == nil && found == number {
			return at == t.place, nil
		}
	}
	return false, fmt.Errorf("looking for the fresh /%s: it is neither %s nor %s: %w", t.name, t.place, t.fresh, ErrLost)
}
