// Package kernel runs the tests of package guest as the first and only program
// of small virtual machines with Debian's cloud kernels, whose sit device has
// the 6rd attributes that the kernel of a test machine may lack:
//
//	go test ./integration/kernel
//	  fetch.sh    vmlinuz and modules, once, into ${XDG_CACHE_HOME:-~/.cache}/genkan
//	  go test -c  package guest → init, static
//	  initrd      init and the modules, each after those it depends on
//	  qemu        TCG; no network, no disk, no root; a serial line to read
//
// and of Debian's user-mode Linux, whose sit has no 6rd, for what a kernel may
// lack. All ends of a tunnel live in network namespaces inside the one guest.
package kernel
