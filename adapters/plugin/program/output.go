package program

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// outputs takes what a program writes to both of its outputs.
type outputs struct {
	listen func(string)

	mutex sync.Mutex
	kept  bytes.Buffer // of standard output
	last  []byte       // the end of both
	lines [2]lines
}

func (o *outputs) stdout() io.Writer { return output{o, 0} }
func (o *outputs) stderr() io.Writer { return output{o, 1} }

type output struct {
	all   *outputs
	which int
}

func (w output) Write(text []byte) (int, error) {
	o := w.all
	o.mutex.Lock()
	defer o.mutex.Unlock()
	if w.which == 0 {
		o.kept.Write(text[:min(len(text), maxStdout-o.kept.Len())])
	}
	o.last = append(o.last, text[max(0, len(text)-maxTail):]...)
	if over := len(o.last) - maxTail; over > maxTail {
		o.last = append(o.last[:0], o.last[over:]...)
	}
	if o.listen != nil {
		o.lines[w.which].take(text, o.listen)
	}
	return len(text), nil
}

// end hands on the lines that were never ended.
func (o *outputs) end() {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	if o.listen != nil {
		o.lines[0].end(o.listen)
		o.lines[1].end(o.listen)
	}
}

func (o *outputs) tail() string {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return strings.ToValidUTF8(string(o.last[max(0, len(o.last)-maxTail):]), "?")
}

// lines cuts a stream into lines. A carriage return ends one too: tools redraw their progress with it.
type lines struct{ rest []byte }

func (l *lines) take(text []byte, hand func(string)) {
	for len(text) > 0 {
		at := bytes.IndexAny(text, "\r\n")
		part := text[:max(at, 0)]
		if at < 0 {
			part = text
		}
		l.rest = append(l.rest, part[:min(len(part), maxLine-len(l.rest))]...)
		if at < 0 {
			return
		}
		l.end(hand)
		text = text[at+1:]
	}
}

func (l *lines) end(hand func(string)) {
	if line := strings.TrimSpace(string(l.rest)); line != "" {
		hand(line)
	}
	l.rest = l.rest[:0]
}

// runWithStatus runs a program that may report its status on a descriptor of its own.
func runWithStatus(command *exec.Cmd, status func(string)) error {
	if status == nil {
		return command.Run()
	}
	from, to, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("making a pipe for the program's status: %w", err)
	}
	command.ExtraFiles = []*os.File{to}
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		scanner := bufio.NewScanner(from)
		scanner.Buffer(nil, maxLine)
		for scanner.Scan() {
			status(scanner.Text())
		}
		// A line that is too long ends the listening, and must not block the program.
		_, _ = io.Copy(io.Discard, from)
	}()
	err = command.Start()
	closed := to.Close()
	if err == nil {
		err = command.Wait()
	}
	// What a program says last says why it failed, and is still in the pipe. Something that it left behind may hold the
	// descriptor open for ever.
	late := from.SetReadDeadline(time.Now().Add(leftover))
	<-heard
	return errors.Join(err, closed, late, from.Close())
}
