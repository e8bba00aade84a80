package plugin

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
)

const (
	maxLog      = 64 << 20 // bytes of a plugin's log that are passed on
	maxLogLine  = 16 << 10 // bytes of one line of the log; a longer one becomes several
	tailOfLog   = 64 << 10 // bytes of the log that an error carries
	lastWordsOf = 512      // bytes of the log that an error's message quotes

	tooLongShown = 1 << 10 // bytes kept of a line that is too long
)

// line is one line of a plugin's standard output.
type line struct {
	text []byte
	cut  bool // the output ended before the line did
	long bool // it is longer than any line may be, and text is its beginning
}

// readLines hands on each line until the output ends, and notes that the plugin is alive. Whatever the
// plugin writes, no more than one line is held.
func readLines(from *os.File, lines chan<- line, done <-chan struct{}, alive chan<- struct{}) {
	defer close(lines)
	reader := bufio.NewReaderSize(from, 64<<10)
	hand := func(l line) bool {
		note(alive)
		select {
		case lines <- l:
			return true
		case <-done:
			// So that the plugin can end without waiting for a reader.
			_, _ = io.Copy(io.Discard, reader)
			return false
		}
	}
	var text []byte
	for {
		chunk, err := reader.ReadSlice('\n')
		text = append(text, chunk...)
		switch {
		case len(text) > maxLine:
			if !hand(line{text: bytes.Clone(text[:tooLongShown]), long: true}) {
				return
			}
		case err == nil:
			if whole := bytes.TrimSpace(text); len(whole) > 0 && !hand(line{text: bytes.Clone(whole)}) {
				return
			}
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		default:
			if rest := bytes.TrimSpace(text); len(rest) > 0 {
				hand(line{text: rest, cut: true})
			}
			return
		}
		text = text[:0]
	}
}

// note leaves a mark that someone may look at, and does not wait for it.
func note(alive chan<- struct{}) {
	select {
	case alive <- struct{}{}:
	default:
	}
}

// logTail passes a plugin's log on, and keeps the end of it.
type logTail struct {
	log  *slog.Logger
	tail []byte
	done chan struct{} // closed when the log has ended; tail may be read then
}

// read passes the log on line by line. What is above the bound is read and dropped: a plugin must not
// hang because no one listens.
func (t *logTail) read(from *os.File, alive chan<- struct{}) {
	defer close(t.done)
	reader := bufio.NewReaderSize(from, maxLogLine)
	for total := 0; ; {
		chunk, err := reader.ReadSlice('\n')
		if len(chunk) > 0 {
			note(alive)
			t.keep(chunk)
			before := total
			total += len(chunk)
			switch text := bytes.TrimSpace(chunk); {
			case total <= maxLog && len(text) > 0:
				t.log.Info(string(text))
			case total > maxLog && before <= maxLog:
				t.log.Warn("the plugin's log is longer than 64 MiB; the rest of it is dropped")
			}
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

func (t *logTail) keep(chunk []byte) {
	t.tail = append(t.tail, chunk...)
	if over := len(t.tail) - tailOfLog; over > tailOfLog {
		t.tail = append(t.tail[:0], t.tail[over:]...)
	}
}

// end returns the last bytes of the log.
func (t *logTail) end() string {
	return string(t.tail[max(0, len(t.tail)-tailOfLog):])
}

// lastWords returns the last line of the log, as far as it fits into a message.
func (t *logTail) lastWords() string {
	text := bytes.TrimSpace(t.tail)
	text = text[bytes.LastIndexByte(text, '\n')+1:]
	return clip(string(text), lastWordsOf)
}
