package kernel

import (
	"os/exec"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// startWithoutXState starts a program for which PTRACE_GETREGSET knows no NT_X86_XSTATE. User-mode Linux asks for that
// once, and uses PTRACE_GETFPREGS where there is none: its room for the extended registers is of one size, and on a
// processor with more of them (AMX) the host refuses to take it back, by EFAULT, which kills the guest's init.
func startWithoutXState(cmd *exec.Cmd) error {
	const (
		number, request, address = 0, 16, 32 // in struct seccomp_data: nr, args[0], args[2]; the low halves
		xstate                   = 0x202     // NT_X86_XSTATE
	)
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	unless := func(value uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: skip, K: value}
	}
	verdict := func(v uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: v} }
	filter := []unix.SockFilter{
		load(number), unless(unix.SYS_PTRACE, 5),
		load(request), unless(unix.PTRACE_GETREGSET, 3),
		load(address), unless(xstate, 1),
		verdict(unix.SECCOMP_RET_ERRNO | uint32(unix.EINVAL)),
		verdict(unix.SECCOMP_RET_ALLOW),
	}
	started := make(chan error)
	go func() { // the filter is a thread's, and its children's: this one ends with the function
		runtime.LockOSThread()
		started <- func() error {
			if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
				return err
			}
			prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
			if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0); err != nil {
				return err
			}
			return cmd.Start()
		}()
	}()
	return <-started
}
