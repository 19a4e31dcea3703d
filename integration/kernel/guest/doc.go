// Package guest holds the tests of the tunnel that need a kernel with 6rd. Its
// test program is process 1 of the virtual machines of package kernel; on an
// ordinary machine "go test" runs nothing of it.
package guest
