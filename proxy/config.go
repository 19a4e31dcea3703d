package proxy

import (
	"io"
	"log/slog"
	"net/netip"
	"time"

	"genkan/acl"
	"genkan/proxy/accesslog"
	"genkan/proxy/certs"
	"genkan/proxy/ftp"
	"genkan/proxy/message"
)

// Config is everything that a Server does. It is passed by value; New and
// Apply refuse one that does not hold, and say every fault that they find.
// The zero Config listens nowhere.
type Config struct {
	Sites     []Site
	Forwards  []Forward
	Listeners []Listener // settings of listeners that Sites or Forwards use
	Pools     []Pool     // what source = "pool" draws from

	// Tunnel is the address that "tunnel:PORT" means. Zero: there is no
	// tunnel, and a listener on it is an error.
	Tunnel acl.Addr
	// TunnelInterface is the name of the tunnel's interface. A connection
	// counts as arrived through the tunnel only when the kernel says that
	// it came in by this interface. Empty: none does.
	TunnelInterface string

	// Backends is the list of networks that may be dialled. Nil: every IPv4
	// address but our own listeners, Refuse, 0/8, 169.254/16 and multicast.
	Backends []acl.Prefix
	// Refuse are further addresses of our own that are never dialled, such as
	// the admin listener's. An unspecified address means every address of
	// this machine.
	Refuse []netip.AddrPort

	// TransparentBy says how answers to SourceTransparent come back to us.
	TransparentBy TransparentBy

	// Underscores says what becomes of a request's fields that a CGI server
	// would take for ours, such as X_Forwarded_For. Zero: they are dropped.
	Underscores message.Underscores

	// Certs are the settings of certificates that are in no files; HTTP and
	// TLS in there are filled in. Without Dir there are no such certificates,
	// and a site or forward that wants one is an error.
	Certs certs.Settings

	// MaxConns bounds the client connections that are open at once, over all
	// listeners. Zero: 65536. At the bound no more are accepted.
	MaxConns int
	// StateDir holds what survives a restart (pool.db). Empty: nothing does.
	StateDir string
	Timeouts Timeouts
	Limits   Limits
	// Log gets one line an event. Nil discards.
	Log *slog.Logger
	// AccessLog gets requests that are of no site. Zero: nowhere.
	AccessLog accesslog.Spec
	// Front is this machine's name, in access logs.
	Front string
	// Stdout is what access logs mean by "stdout". Nil discards.
	Stdout io.Writer
}

// Timeouts bound every wait. Zero means the default, negative is an error.
type Timeouts struct {
	Header   time.Duration // PROXY header, TLS ClientHello, HTTP request header; 5 s
	Dial     time.Duration // connect to one backend; 5 s
	Idle     time.Duration // no byte either way on a forward; 1 h, which outlasts a lunch in a shell
	Lifetime time.Duration // of a forwarded connection, or an HTTP request with its answer; 24 h
	KeepIdle time.Duration // HTTP connection between two requests; 60 s
	Request  time.Duration // until the answer to an HTTP request begins; 60 s
	// Handshake bounds one of TLS, 10 s. Body is how long content may pause, 30 s,
	// BodyGrace how long it may be slower than Limits.BodyRate, 10 s, and Write
	// how long a client may take no more of an answer, 30 s.
	Handshake, Body, BodyGrace, Write time.Duration
	UDPIdle                           time.Duration // no datagram either way in a UDP session; 60 s
	Drain                             time.Duration // what is still open this long after the stop is cut; 30 s
}

// A Listener says what the sites and forwards on one listener share.
type Listener struct {
	Listen Listen
	// AcceptProxy are the peers that must send a PROXY protocol header; all
	// others must not. Empty: nobody sends one.
	AcceptProxy []acl.Prefix
	// TLS is true where the sites of a port other than 443 speak TLS.
	TLS bool
}

// A Site is one HTTP service, found by the name in Host.
type Site struct {
	Name string
	// Hosts are what Host may say: "www.example.jp", "*.example.jp" (one or
	// more labels in place of the star) or "default" (anything else, no Host
	// included). Empty: Name is the only one.
	Hosts  []string
	Listen []Listen
	To     []Backend
	// Cert and Key are PEM files for TLS: the certificate with its chain,
	// and its key. Empty: what CertSource says.
	Cert, Key  string
	CertSource CertSource
	// TLSProfile is what clients have to be able to do.
	TLSProfile certs.Profile
	// NoRedirect serves the site on port 80 although port 443 of the same
	// address has it by TLS. False: clients of port 80 are sent there.
	NoRedirect bool
	// BackendTLS is how backends with "https://" or "h2://" prove who they are.
	BackendTLS BackendTLS
	// NoHTTP3 keeps the site from HTTP/3. UDP is open on its TLS ports only
	// where another site of the port wants it.
	NoHTTP3 bool
	// Access judges each request. Nil denies all: no rules at all are
	// written as acl.AllowAll().
	Access *acl.Policy
	// Shadow logs and counts what Access would deny, and lets it pass.
	Shadow bool
	Trust  Trust
	// Announce says in which headers the backend learns the client:
	// "x-forwarded-for", "forwarded", "x-real-ip", "pseudo-ipv4".
	// Nil: x-forwarded-for. Empty but not nil: none.
	Announce []string
	// PseudoHeader is the header of "pseudo-ipv4". Empty: "Pseudo-IPv4".
	PseudoHeader string
	// Pool is the pool of "pseudo-ipv4", and of source = "pool". Empty: "default".
	Pool    string
	Source  Source
	Balance Balance
	Check   Check
	// MaxConns bounds the requests that one backend has at once. Zero: no bound.
	MaxConns int
	Handling
	// ClientCA is a PEM file of the authorities that vouch for clients, which
	// are asked for a certificate then. Empty: they are not.
	ClientCA string
	// ClientOptional lets clients without a certificate in; the backend is
	// told.
	ClientOptional bool
	// AccessLog gets a line a request. Zero: nowhere.
	AccessLog accesslog.Spec
	// Routes are parts of the site that are handled in another way.
	Routes []Route
}

// Trust says whose word on the client is believed, and which header it is in.
// The zero Trust believes nobody.
type Trust struct {
	// From are the peers (proxies, CDNs) that are believed.
	From []acl.Prefix
	// List has the peers where it is not nil, and From does not count.
	List *acl.List
	// Header is "x-forwarded-for" or "forwarded". Empty: x-forwarded-for.
	Header string
}

// A Forward is one TCP or UDP service, found by its port and, with SNI set,
// by the name in the TLS ClientHello.
type Forward struct {
	Name   string
	Listen []Listen
	To     []Backend
	// Access judges each connection or UDP session. Nil denies all.
	Access *acl.Policy
	// Shadow logs and counts what Access would deny, and lets it pass.
	Shadow bool
	Source Source
	// Announce is what is said in-band before the client's bytes:
	// "proxy-v1", "proxy-v2", or "xclient" of protocol "smtp". Nil: nothing.
	Announce []string
	// AnnounceAddress is "client" (or empty), or "pool": an IPv6 client is
	// announced as its pool address, the real one in a TLV of proxy-v2.
	AnnounceAddress string
	// Pool is the pool of Source "pool" and AnnounceAddress "pool". Empty: "default".
	Pool string
	// SNI are the names ("www.example.jp", "*.example.jp") of the TLS
	// connections that are this forward's. Empty: all connections are.
	SNI []string
	// Protocol is "", "dns", "smtp", "imap", "pop3", "ssh" or "ftp": what is
	// known about the bytes. "dns" has no amplification guard; its answers over
	// UDP are kept to what the client and an IPv6 path take (package dns).
	Protocol string
	// Cert and Key are PEM files: TLS ends here, and the server behind speaks
	// plain. Empty: what CertSource says, and from nowhere the client's bytes
	// pass as they are.
	Cert, Key  string
	CertSource CertSource
	// CertNames are what the certificates of CertSource are for. Empty: the
	// names in SNI.
	CertNames []string
	// TLSProfile is what clients have to be able to do.
	TLSProfile certs.Profile
	// TLS says how clients come to it, where there is a certificate.
	TLS ForwardTLS
	// FTPRequire is what clients of protocol "ftp" must do about TLS. Zero:
	// nothing.
	FTPRequire ftp.Requirements
	// ECS tells servers of protocol "dns" the network of each client, /56 or
	// /24, in queries with EDNS (RFC 7871).
	ECS bool
	// Passive are the ports for data of protocol "ftp", at the addresses of
	// Listen. Where the server has the same range, its ports keep their
	// number, and TLS that the server ends works. Zero: 50000 to 50099.
	Passive ftp.Ports
	Balance Balance
	Check   Check
	// MaxConns bounds the connections that one backend has at once. Zero: no bound.
	MaxConns int
	// Idle and Lifetime override Config.Timeouts where not zero.
	Idle     time.Duration
	Lifetime time.Duration
	// AccessLog gets a line a connection or UDP session, once it has ended.
	// Zero: nowhere.
	AccessLog accesslog.Spec
	// MaxSessions bounds the UDP sessions of each socket of this forward, so that a
	// flood over one family leaves the other alone. Zero: 16384.
	MaxSessions int
}

// A CertSource says where a certificate comes from that is in no files. The
// zero CertSource is CertNone.
type CertSource uint8

const (
	CertNone     CertSource = iota // nowhere
	CertAuto                       // an ACME CA; for names and addresses that none knows, our own
	CertInternal                   // our own CA
)

// A ForwardTLS says how clients of a forward with a certificate come to TLS. The
// zero ForwardTLS is TLSByPort.
type ForwardTLS uint8

const (
	// TLSByPort is TLS from the first byte; of protocol "ftp", by AUTH TLS on
	// all ports but 990.
	TLSByPort   ForwardTLS = iota
	TLSImplicit            // from the first byte
	TLSStart               // by STARTTLS, STLS or AUTH TLS, of protocols "smtp", "imap", "pop3" and "ftp"
)

// A Source says whose address the backend sees on the socket. The zero Source
// is SourceOwn.
type Source uint8

const (
	SourceOwn         Source = iota // this machine's
	SourcePool                      // a private IPv4 address per IPv6 /64, and per IPv4 client
	SourceTransparent               // an IPv4 client's own; IPv6 clients as SourcePool where Pool exists, else as SourceOwn
)

// A TransparentBy is a way to get back what a backend answers to an address
// that is not ours; the backend's route to clients leads here in any case. The
// zero TransparentBy is TransparentBySocket.
type TransparentBy uint8

const (
	TransparentBySocket TransparentBy = iota // packets for our own sockets only, by nftables
	TransparentByPort                        // all that comes from a backend's port, by ip rules alone
)

// A Balance says how one of several backends is chosen. The zero Balance is
// BalanceRoundRobin.
type Balance uint8

const (
	BalanceRoundRobin Balance = iota
	BalanceLeast              // fewest open connections
	BalanceHash               // by client: IPv4 address or IPv6 /64
)

// A Check is an active health check, by TCP or HTTP. The zero Check makes none.
type Check struct {
	Interval time.Duration // between two checks; zero: no checks
	Timeout  time.Duration // of one; zero: 2 s
	Send     string        // bytes sent once connected; empty: none
	Expect   string        // what the answer must contain; empty: connecting, or the status, is enough
	Path     string        // asked for by HTTP, in the place of Send; empty: TCP alone
	Host     string        // of that request; empty: the site's, else the backend's address
	Status   string        // of a good answer, "204" or "200-399"; empty: 200-399
	Rise     int           // successes in a row that bring a backend back; zero: 2
	Fall     int           // failures in a row that take it out; zero: 3
}

// A Pool is a range of private IPv4 addresses that stand for IPv6 clients.
type Pool struct {
	Name string // "default" unless named
	// Prefix holds the addresses, IPv4.
	Prefix acl.Prefix
	// Quarantine is how long an address that lost its client is not given to
	// another: at least as long as the longest ban. Zero: 24 h.
	Quarantine time.Duration
	// Per48 bounds the addresses that one IPv6 /48 may hold. Zero: 1/64 of
	// the pool, at least 16. Our own 6rd domain (Domain) has no such bound.
	Per48 int
	// Domain is our 6rd prefix. Zero: there is none.
	Domain acl.Prefix
}
