package controlplane

import "syscall"

// diesWithParent lets the kernel kill a child when the thread that started it ends. Its own group keeps
// the terminal's Ctrl-C away from it, so that this process decides.
func diesWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
