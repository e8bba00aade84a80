package controlplane

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// A port on 127.0.0.1 that this process holds without listening on it. A server that shares ports
// (SO_REUSEPORT) can listen on it, again and again, and nobody else gets it in between: not another
// test, and not an outgoing connection of this machine.
type port struct {
	number int
	socket int
}

func reservePort() (*port, error) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, fmt.Errorf("reserving a port: %w", err)
	}
	unix.CloseOnExec(socket)
	p := &port{socket: socket}
	if err := p.bind(); err != nil {
		p.release()
		return nil, fmt.Errorf("reserving a port on 127.0.0.1: %w", err)
	}
	return p, nil
}

func (p *port) bind() error {
	if err := unix.SetsockoptInt(p.socket, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return err
	}
	if err := unix.Bind(p.socket, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	address, err := unix.Getsockname(p.socket)
	if err != nil {
		return err
	}
	p.number = address.(*unix.SockaddrInet4).Port
	return nil
}

func (p *port) release() {
	if p == nil {
		return
	}
	_ = unix.Close(p.socket)
	p.socket = -1
}
