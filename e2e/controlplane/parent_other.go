//go:build !linux

package controlplane

import "syscall"

// diesWithParent cannot promise that here: only Linux kills a child for its parent's sake. The child
// stays in the group of its parent, so that at least Ctrl-C reaches both.
func diesWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{}
}
