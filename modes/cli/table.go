package cli

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"elemental/core"
	"elemental/ports"
)

// mostOfMessage is how much of a message fits into a table.
const mostOfMessage = 100

// writeTable shows one host a line.
func writeTable(out io.Writer, hosts []ports.Target, everywhere bool, now time.Time) error {
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	columns := []string{"NAME", "PHASE", "READY", "VERSION", "OUTCOME", "MESSAGE", "AGE"}
	if everywhere {
		columns = append([]string{"NAMESPACE"}, columns...)
	}
	fmt.Fprintln(table, strings.Join(columns, "\t"))
	for _, h := range hosts {
		ready, _ := core.Find(h.Conditions, core.Ready)
		row := []string{
			h.Name, string(h.Phase), string(ready.Status), versionName(h.OSVersion.Booted), string(h.Outcome),
			shorten(ready.Message, mostOfMessage), age(h.Created, now),
		}
		if everywhere {
			row = append([]string{h.Namespace}, row...)
		}
		for i := range row {
			row[i] = cmp.Or(plain(row[i]), "-")
		}
		fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	return table.Flush()
}

// versionName is how a person tells versions apart: by the system's own name, else by the image.
func versionName(v core.Version) string {
	if v == (core.Version{}) {
		return ""
	}
	return cmp.Or(v.Version, v.String())
}

// plain makes one harmless line of a text that a host has written.
func plain(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsGraphic(r) }), " ")
}

// shorten keeps so many characters of a text.
func shorten(text string, most int) string {
	runes := []rune(text)
	if len(runes) <= most {
		return text
	}
	return string(runes[:max(0, most-1)]) + "…"
}

// age says how long ago something was, in the one or two units that matter, as kubectl does.
func age(since, now time.Time) string {
	if since.IsZero() {
		return ""
	}
	d := max(0, now.Sub(since))
	switch day := 24 * time.Hour; {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < 3*time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 2*day:
		return fmt.Sprintf("%dh", d/time.Hour)
	default:
		return fmt.Sprintf("%dd", d/day)
	}
}
