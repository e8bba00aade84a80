package ports

import (
	"context"
	"time"
)

// Launcher starts programs that may do all that root may, and ends each with whatever it has started.
type Launcher interface {
	// Start starts a program and returns when it runs, or when it could not be executed, which is an error. The error
	// is, or wraps, ErrNotReady where nothing can be started now: it may be tried again, and the program is not to blame.
	// The program does not end with the context. It ends with this process, however that ends.
	Start(ctx context.Context, program Program) (Process, error)
}

// Process is a program that was started.
type Process interface {
	// Exited is closed when the program has ended and all that it has started was ended too, or when its Exit is Lost.
	Exited() <-chan struct{}
	// Stop asks the program, and all that it has started, to end; kills what still runs after the program's patience;
	// and returns when it has exited. What has not ended a minute after that, since it hangs in the kernel, is given up:
	// its Exit is Lost.
	Stop()
	// Kill kills the program and all that it has started, and does not wait for their end.
	Kill()
	// Exit says how the program ended. It may be asked once it has exited.
	Exit() Exit
}

// Program is what is to be started.
type Program struct {
	Name string // tells people what runs: the plugin and the verb, with a slash between them
	// File is the executable, opened. It must stay open until the program has exited: what was opened is executed,
	// and a script's interpreter opens it once more.
	File Descriptor
	Args []string // the first is what the program is told that it is called
	Dir  string   // the current folder, in full
	// Environment holds NAME=value and is all that the program is given.
	Environment []string
	// Stdin, Stdout and Stderr are the program's ends. They may be closed when Start has returned.
	Stdin, Stdout, Stderr Descriptor
	// Patience is the time between asking what the program has started to end, and killing it.
	Patience time.Duration
}

// Descriptor is an open file.
type Descriptor interface {
	// Fd is its number in this process.
	Fd() uintptr
}

// Exit says how a program ended. The zero value is one that ended well and left nothing behind.
type Exit struct {
	Status int  // its exit status
	Signal int  // the number of the signal that ended it; 0: none did
	Left   bool // something that it had started still ran when it ended by itself, and was ended
	// Lost says why nobody knows how it ended, or whether it has; empty where that is known.
	Lost string
}
