package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"
)

// printer writes for a person: short lines, and colors where a terminal shows them.
type printer struct {
	to       io.Writer
	terminal bool
}

func newPrinter(file *os.File) *printer {
	info, err := file.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return &printer{to: file, terminal: terminal}
}

func (p *printer) line(format string, args ...any) { fmt.Fprintf(p.to, format+"\n", args...) }

func (p *printer) style(code, text string) string {
	if !p.terminal {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (p *printer) bold(text string) string  { return p.style("1", text) }
func (p *printer) dim(text string) string   { return p.style("2", text) }
func (p *printer) green(text string) string { return p.style("32", text) }
func (p *printer) red(text string) string   { return p.style("31", text) }

// step does one thing and says what came of it, and how long it took.
func (p *printer) step(name string, do func() (result string, err error)) error {
	if p.terminal {
		fmt.Fprintf(p.to, "  %s %s", p.dim("…"), name)
	}
	start := time.Now()
	result, err := do()
	if p.terminal {
		fmt.Fprint(p.to, "\r\x1b[K")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	p.line("  %s %-14s %s %s", p.green("✓"), name, result, p.dim(fmt.Sprintf("(%.1f s)", time.Since(start).Seconds())))
	return nil
}

// plain is what a shell takes as it stands.
var plain = regexp.MustCompile(`^[\w@%+=:,./-]+$`)

// prompt shows a command as it can be typed.
func (p *printer) prompt(command ...string) {
	var words []string
	for _, word := range command {
		if !plain.MatchString(word) {
			word = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
		words = append(words, word)
	}
	p.line("\n%s %s", p.dim("$"), p.bold(strings.Join(words, " ")))
}

// Write passes on what builds say while a step runs, each on lines of its own.
func (p *printer) Write(text []byte) (int, error) {
	if p.terminal {
		fmt.Fprint(p.to, "\r\x1b[K")
	}
	for line := range strings.Lines(string(text)) {
		fmt.Fprintf(p.to, "    %s\n", p.dim(strings.TrimRight(line, "\n")))
	}
	return len(text), nil
}
