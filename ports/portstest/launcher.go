package portstest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"

	"elemental/ports"
)

// The programs that the contract is told with, for a shell. The fake knows them by their text.
const (
	scriptCopies  = `cat; echo said >&2`
	scriptTells   = `pwd; env`
	scriptFails   = `exit 3`
	scriptCrashes = `kill -SEGV $$`
	scriptObeys   = `trap 'exit 5' TERM; echo ready; while :; do sleep 0.02; done`
	scriptIgnores = `trap '' TERM; echo ready; while :; do sleep 0.02; done`
	scriptLeaves  = `sleep 600 & echo $!`
)

// Launcher is a launcher that starts nothing. It plays the programs of its contract.
type Launcher struct {
	// Away is why nothing can be started now; nil: everything can.
	Away error
	// Lost is why nobody knows how programs end, which then do nothing; empty where that is known.
	Lost string
}

// played is a program that the fake plays.
type played struct {
	program               ports.Program
	stdin, stdout, stderr *os.File
	asked, killed, exited chan struct{}
	ask, kill             sync.Once
	exit                  ports.Exit
}

// Start plays a program.
func (l *Launcher) Start(ctx context.Context, program ports.Program) (ports.Process, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if l.Away != nil {
		return nil, fmt.Errorf("playing %s: %w: %w", program.Name, l.Away, ports.ErrNotReady)
	}
	script, err := scriptOf(program)
	if err != nil {
		return nil, err
	}
	p := &played{program: program, asked: make(chan struct{}), killed: make(chan struct{}), exited: make(chan struct{})}
	for descriptor, copied := range map[ports.Descriptor]**os.File{program.Stdin: &p.stdin, program.Stdout: &p.stdout, program.Stderr: &p.stderr} {
		number, err := syscall.Dup(int(descriptor.Fd()))
		if err != nil {
			return nil, os.NewSyscallError("dup", err)
		}
		*copied = os.NewFile(uintptr(number), program.Name)
	}
	go func() {
		if p.exit.Lost = l.Lost; l.Lost == "" {
			p.exit = p.play(script)
		}
		_, _, _ = p.stdin.Close(), p.stdout.Close(), p.stderr.Close() // They are copies.
		close(p.exited)
	}()
	return p, nil
}

// scriptOf is what a program does: a shell's script, or a file that is one.
func scriptOf(program ports.Program) (string, error) {
	head := make([]byte, 4)
	number, err := syscall.Pread(int(program.File.Fd()), head, 0)
	switch {
	case err != nil:
		return "", err
	case strings.HasPrefix(string(head[:number]), "\x7fELF"):
		return program.Args[len(program.Args)-1], nil
	case strings.HasPrefix(string(head[:number]), "#!"):
		return scriptCopies, nil
	default:
		return "", errors.New("exec format error")
	}
}

func (p *played) play(script string) ports.Exit {
	ready := func() { _, _ = io.WriteString(p.stdout, "ready\n") }
	switch script {
	case scriptCopies:
		_, _ = io.Copy(p.stdout, p.stdin) // Whoever does not listen misses it.
		_, _ = io.WriteString(p.stderr, "said\n")
	case scriptTells:
		_, _ = io.WriteString(p.stdout, p.program.Dir+"\n"+strings.Join(p.program.Environment, "\n")+"\n")
	case scriptFails:
		return ports.Exit{Status: 3}
	case scriptCrashes:
		return ports.Exit{Signal: int(syscall.SIGSEGV)}
	case scriptObeys:
		ready()
		select {
		case <-p.asked:
			return ports.Exit{Status: 5}
		case <-p.killed:
			return ports.Exit{Signal: int(syscall.SIGKILL)}
		}
	case scriptIgnores:
		ready()
		<-p.killed
		return ports.Exit{Signal: int(syscall.SIGKILL)}
	case scriptLeaves:
		return ports.Exit{Left: true}
	}
	return ports.Exit{}
}

// Exited is closed when the program has ended.
func (p *played) Exited() <-chan struct{} { return p.exited }

// Exit says how it ended.
func (p *played) Exit() ports.Exit { return p.exit }

// Stop asks the program to end, and kills it if it does not obey.
func (p *played) Stop() {
	p.ask.Do(func() { close(p.asked) })
	if script, _ := scriptOf(p.program); script == scriptIgnores {
		p.Kill()
	}
	<-p.exited
}

// Kill kills the program.
func (p *played) Kill() { p.kill.Do(func() { close(p.killed) }) }
