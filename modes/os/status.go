package hostos

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// Role is what a deployment is on its host.
type Role string

// The roles. Every deployment has one.
const (
	Booted   Role = "booted"   // it runs
	Staged   Role = "staged"   // it is booted next, on trial
	Next     Role = "next"     // it is booted next, and is good
	Previous Role = "previous" // it is good, and the one to fall back to
	Fallen   Role = "fallen"   // its tries are used up
	Kept     Role = "kept"     // it could be booted by hand
	Unused   Role = "unused"   // the boot loader does not know it; it will be collected
)

// Status is the operating systems of this host.
type Status struct {
	Booted      string       `json:"booted,omitempty"` // empty when the host was started from something else
	OnTrial     bool         `json:"onTrial"`
	Reset       Reset        `json:"reset,omitzero"`
	Deployments []Deployment `json:"deployments"`
}

// Deployment is one of them.
type Deployment struct {
	ID        string    `json:"id"`
	Role      Role      `json:"role"`
	Reference string    `json:"reference,omitempty"`
	Digest    string    `json:"digest,omitempty"`
	Version   string    `json:"version,omitempty"`
	Created   time.Time `json:"created,omitzero"`
	Entry     bool      `json:"entry"`               // the boot loader knows it
	First     bool      `json:"first"`               // the boot loader would choose it now
	Trial     bool      `json:"trial"`               // its boots are counted
	TriesLeft int       `json:"triesLeft,omitempty"` // of a trial
	TriesUsed int       `json:"triesUsed,omitempty"` // of a trial
	Failure   string    `json:"failure,omitempty"`   // why it fell
}

// assign gives every deployment its role. They come in the boot loader's order.
func (s *Status) assign() {
	previous := false
	for i := range s.Deployments {
		d := &s.Deployments[i]
		switch {
		case d.ID == s.Booted:
			d.Role = Booted
		case !d.Entry:
			d.Role = Unused
		case d.Trial && d.TriesLeft == 0:
			d.Role = Fallen
		case d.First && d.Trial:
			d.Role = Staged
		case d.First:
			d.Role = Next
		case !d.Trial && !previous:
			d.Role, previous = Previous, true
		default:
			d.Role = Kept
		}
	}
}

func (s Status) writeJSON(out io.Writer) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(s)
}

func (s Status) writeText(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "ROLE\tVERSION\tIMAGE\tDEPLOYMENT\tTRIES\tNOTE")
	for _, d := range s.Deployments {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", d.Role, cmp.Or(d.Version, "-"), cmp.Or(d.Reference, "-"),
			d.ID[:min(12, len(d.ID))], d.tries(), cmp.Or(s.note(d), "-"))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if s.Booted == "" {
		fmt.Fprintln(out, "\nThis host was not started from a deployment.")
	}
	if next := s.Reset.String(); next != "" {
		fmt.Fprintln(out, "\n"+next)
	}
	return nil
}

func (d Deployment) tries() string {
	if !d.Trial {
		return "-"
	}
	return strconv.Itoa(d.TriesLeft) + " left, " + strconv.Itoa(d.TriesUsed) + " used"
}

func (s Status) note(d Deployment) string {
	switch {
	case d.Role == Booted && s.OnTrial:
		return "on trial: not confirmed yet"
	case d.Failure != "":
		return strings.Join(strings.Fields(d.Failure), " ")
	default:
		return ""
	}
}
