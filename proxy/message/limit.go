package message

// A Limit is one of the bounds on what a client may do, for the metric that
// tells when it bites.
type Limit int

// The limits of the fronts and of what stands around them.
const (
	LimitHead       Limit = iota // a request's line or fields: too long or too many
	LimitHeadTime                // a request's head, or a TLS handshake, took too long
	LimitBodyRate                // content came too slowly
	LimitWriteTime               // the client did not take its answer
	LimitLifetime                // an exchange lasted too long
	LimitStreams                 // too many requests at once on one connection
	LimitControl                 // HTTP/2: too many control frames
	LimitAborts                  // HTTP/2: too many aborted requests
	LimitClient                  // too many connections of one client
	LimitConns                   // max_conns, of HTTP/3 connections
	LimitHandshakes              // HTTP/3: a client had to prove its address
	LimitMemory                  // requests refused for want of memory
	Limits                       // how many there are
)

// String gives the word that the metric has.
func (l Limit) String() string {
	return [Limits]string{
		"header", "header_time", "body_rate", "write_time", "lifetime", "streams", "control_frames", "aborts",
		"client_conns", "max_conns", "handshakes", "memory",
	}[l]
}

// A Bite is told that a limit bit. The nil Bite is told in vain.
type Bite func(Limit)

// Tell calls b.
func (b Bite) Tell(l Limit) {
	if b != nil {
		b(l)
	}
}
