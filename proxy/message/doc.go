// Package message is the program's own HTTP request and response: what the
// three fronts (HTTP/1, HTTP/2, HTTP/3) make of bytes, what the forwarder
// decides on, and what the backend transport writes.
//
// A Request that a front hands to its Handler is well-formed by RFC 9110:
// a token for a method, one valid host, a target in origin form (or "*" with
// OPTIONS), field names that are tokens, field values without control bytes.
// Framing and hop-by-hop fields are not in its Header; the length of the
// body is in Length, and whoever writes the message on makes framing anew.
package message
