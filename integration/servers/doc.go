// Package servers runs the real servers that Genkan stands in front of, as
// Debian ships them, in the lab's backend: IPv4 only, in the foreground, all
// files in the lab's folder, no state of the machine touched.
//
//	sshd := servers.StartSSH(t, l, servers.SSH{Port: 22})
//	…
//	sshd.WaitLog(t, "Accepted publickey for root from 100.64.0.1")
//
// Each server is stopped at the end of its test, with all its children.
package servers
