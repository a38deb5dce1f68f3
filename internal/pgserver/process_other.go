//go:build !linux

package pgserver

import "syscall"

// dieWithParent has no kernel to ask here: the next Start ends what is left.
func dieWithParent(*syscall.SysProcAttr) {}
