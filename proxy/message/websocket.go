package message

import (
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
)

// A WebSocketKey is a handshake of our own with a backend, for a client whose
// version of HTTP has none (RFC 8441 §5.1, RFC 9220 §3).
type WebSocketKey string

// NewWebSocketKey puts a handshake into r's fields.
func NewWebSocketKey(r *Request) WebSocketKey {
	var nonce [16]byte
	rand.Read(nonce[:]) // crypto/rand's never fails
	key := base64.StdEncoding.EncodeToString(nonce[:])
	r.Header.Set("Sec-WebSocket-Key", key)
	return WebSocketKey(key)
}

// Accept is what a backend that agrees answers (RFC 6455 §4.2.2).
func (k WebSocketKey) Accept() string {
	sum := sha1.Sum([]byte(k + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// Takes reports whether the answer that a handler gave opens the websocket,
// and takes the handshake out of it. An answer that does not open one, and
// would be read as if it did, becomes a 502.
func (k WebSocketKey) Takes(resp *Response) bool {
	if resp.Upgraded != nil && resp.Header.Get("Sec-WebSocket-Accept") == k.Accept() {
		resp.Header.Del("Sec-WebSocket-Accept")
		return true
	}
	if resp.Upgraded != nil || resp.Status < 300 {
		resp.Status, resp.Reason, resp.Header, resp.Body, resp.Length = 502, "", nil, nil, 0
	}
	return false
}
