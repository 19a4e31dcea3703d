package ftp

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// Passive data goes to the client that was told the port, and to no other.
func TestPassiveData(t *testing.T) {
	st := newStage(t, loop6)
	data, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: loop4.AsSlice()})
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	st.client.say("EPSV")
	st.server.hear("EPSV")
	st.server.say(fmt.Sprintf("229 Entering (|||%d|)", data.Addr().(*net.TCPAddr).Port))
	port := portOf(t, st.client.line())

	thief, thiefFar := pair(t, loop6)
	if st.hub.Arrive(thiefFar, netip.MustParseAddr("2001:db8:666::1"), port) {
		t.Error("another client's connection was taken")
	}
	if st.hub.Arrive(thiefFar, loop6, port+1) {
		t.Error("a connection to a port that was not told was taken")
	}
	thief.Close()
	conn, far := pair(t, loop6)
	if !st.hub.Arrive(far, loop6, port) {
		t.Fatal("the client's own connection was not taken")
	}
	if again, _ := pair(t, loop6); st.hub.Arrive(again, loop6, port) {
		t.Error("a second connection was taken")
	}
	server, err := data.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(server, "the file")
	server.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if got, err := io.ReadAll(conn); err != nil || string(got) != "the file" {
		t.Errorf("data %q, %v", got, err)
	}
	<-st.relayed
}

// Active data: the server connects to us, we to the client.
func TestActiveData(t *testing.T) {
	for _, row := range []struct {
		name          string
		from          netip.Addr
		format, heard string
		old           bool // the server knows no EPRT
	}{
		{"PORT", loop4, "PORT 127,0,0,1,P1,P2", "PORT 127,0,0,1,", false},
		{"EPRT", loop6, "EPRT |2|::1|PORT|", "EPRT |1|127.0.0.1|", false},
		{"EPRT-odd-delimiter", loop6, "EPRT !2!::1!PORT!", "EPRT |1|127.0.0.1|", false},
		{"EPRT-old-server", loop6, "EPRT |2|::1|PORT|", "EPRT |1|127.0.0.1|", true},
		{"EPRT-IPv4", loop4, "EPRT |1|127.0.0.1|PORT|", "EPRT |1|127.0.0.1|", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			st := newStage(t, row.from)
			data, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(row.from, 0)))
			if err != nil {
				t.Fatal(err)
			}
			defer data.Close()
			port := data.Addr().(*net.TCPAddr).Port
			st.client.say(strings.NewReplacer("|PORT|", fmt.Sprintf("|%d|", port), "!PORT!", fmt.Sprintf("!%d!", port), "P1,P2", fmt.Sprintf("%d,%d", port>>8, port&0xff)).Replace(row.format))
			line := st.server.line()
			if !strings.HasPrefix(line, row.heard) {
				t.Fatalf("server heard %q", line)
			}
			_, to, err := parseEPRT(strings.TrimPrefix(line, "EPRT "))
			if arg, ok := strings.CutPrefix(line, "PORT "); ok {
				to, err = parsePORT(arg)
			}
			if err != nil {
				t.Fatal(err)
			}
			if row.old {
				st.server.say("500 Unknown command.")
				if to, err = parsePORT(strings.TrimPrefix(st.server.line(), "PORT ")); err != nil {
					t.Fatal(err)
				}
			}
			st.server.say("200 command successful")
			st.client.hear("200 command successful")
			server, err := net.Dial("tcp4", to.String())
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(server, "the file")
			server.Close()
			data.SetDeadline(time.Now().Add(patience))
			conn, err := data.AcceptTCP()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if got, err := io.ReadAll(conn); err != nil || string(got) != "the file" {
				t.Errorf("data %q, %v", got, err)
			}
			<-st.relayed
		})
	}
}

// A transfer is no silence: the control connection outlasts it, and ends by its
// own silence after that.
func TestIdleWaitsForData(t *testing.T) {
	const idle = 100 * time.Millisecond
	st := newStageOf(t, loop6, Config{Idle: idle})
	data, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: loop4.AsSlice()})
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	st.client.say("EPSV")
	st.server.hear("EPSV")
	st.server.say(fmt.Sprintf("229 Entering (|||%d|)", data.Addr().(*net.TCPAddr).Port))
	near, far := pair(t, loop6)
	if !st.hub.Arrive(far, loop6, portOf(t, st.client.line())) {
		t.Fatal("the client's own connection was not taken")
	}
	server, err := data.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-st.ended:
		t.Fatalf("ended in the midst of a transfer: %v", err)
	case <-time.After(5 * idle):
	}
	server.Close()
	near.Close()
	<-st.relayed
	select {
	case err := <-st.ended:
		if err == nil || err.Error() != "no line for 100ms" {
			t.Errorf("ended by %v", err)
		}
		st.ended <- err
	case <-time.After(patience):
		t.Error("silence does not end the session")
	}
}

// Who is not the server gets nothing of a client's at the place where the server
// is expected, which comes after him.
func TestActiveDataOfAStranger(t *testing.T) {
	st := newStage(t, loop6)
	data, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(loop6, 0)))
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	st.client.say(fmt.Sprintf("EPRT |2|::1|%d|", data.Addr().(*net.TCPAddr).Port))
	_, to, err := parseEPRT(strings.TrimPrefix(st.server.line(), "EPRT "))
	if err != nil {
		t.Fatal(err)
	}
	st.server.say("200 command successful")
	st.client.hear("200 command successful")
	from := func(addr string) (net.Conn, error) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(addr)}}
		return d.Dial("tcp4", to.String())
	}
	if stranger, err := from("127.0.0.2"); err == nil { // else the reset was there first
		stranger.SetDeadline(time.Now().Add(patience))
		io.WriteString(stranger, "forged")
		if got, err := io.ReadAll(stranger); err == nil {
			t.Errorf("the stranger got %q and no reset", got)
		}
		stranger.Close()
	}
	server, err := from("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(server, "the file")
	server.Close()
	data.SetDeadline(time.Now().Add(patience))
	conn, err := data.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got, err := io.ReadAll(conn); err != nil || string(got) != "the file" {
		t.Errorf("data %q, %v", got, err)
	}
	<-st.relayed
	if st.stop(); !strings.Contains(st.log.String(), "data of a stranger refused") {
		t.Errorf("log: %s", &st.log)
	}
}

// A client that does not listen where it said so is logged as in every other line.
func TestActiveDataToNobody(t *testing.T) {
	st := newStage(t, loop6)
	nobody, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(loop6, 0)))
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	st.client.say(fmt.Sprintf("EPRT |2|::1|%d|", nobody.Addr().(*net.TCPAddr).Port))
	_, to, err := parseEPRT(strings.TrimPrefix(st.server.line(), "EPRT "))
	if err != nil {
		t.Fatal(err)
	}
	st.server.say("200 command successful")
	st.client.hear("200 command successful")
	if server, err := net.Dial("tcp4", to.String()); err == nil { // else the reset was there first
		server.SetDeadline(time.Now().Add(patience))
		if got, err := io.ReadAll(server); err == nil {
			t.Errorf("the server got %q and no reset", got)
		}
		server.Close()
	}
	if st.stop(); !strings.Contains(st.log.String(), `msg="ftp: no data connection to the client" client=::1 cause=`) {
		t.Errorf("log: %s", &st.log)
	}
}
