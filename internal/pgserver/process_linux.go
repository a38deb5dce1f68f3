package pgserver

import "syscall"

// dieWithParent asks the kernel for the signal of a fast, clean shutdown when
// this process ends, be it by kill -9.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGINT }
