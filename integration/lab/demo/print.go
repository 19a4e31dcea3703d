package demo

import (
	"fmt"
	"io"
	"os/exec"
	"strings"

	"genkan/integration/lab"
)

// A printer tells the story, within 80 columns.
type printer struct {
	out   io.Writer
	color bool
}

func (p printer) say(format string, a ...any) { fmt.Fprintf(p.out, format+"\n", a...) }

func (p printer) paint(code, text string) string {
	if !p.color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (p printer) bold(text string) string  { return p.paint("1", text) }
func (p printer) green(text string) string { return p.paint("32", text) }
func (p printer) red(text string) string   { return p.paint("31", text) }
func (p printer) dim(text string) string   { return p.paint("2", text) }

// picture is the lab as its visitors see it.
const picture = `
   client6 ─────── relay ─────── isp ─────── front ─────── backend
   IPv6 only     IPv6 │ IPv4      │          Genkan        IPv4 only
                               client4       203.0.113.5   10.0.0.10
                               IPv4 only`

func (p printer) opening(config string) {
	p.say("%s", p.bold("Genkan: IPv6 for a server that knows only IPv4"))
	p.say("%s", picture)
	p.say("\n%s", p.bold("This machine now plays all of them, with this genkan.toml at the front:"))
	p.say("")
	for line := range strings.Lines(config) {
		p.say("%s", strings.TrimRight("   "+p.dim(strings.TrimRight(line, "\n")), " "))
	}
}

func (p printer) act(n int, v visitor) {
	p.say("\n%s", p.bold(fmt.Sprintf("%d. %s", n, v.title)))
	p.hop("client", "%s asks for %s", v.from, v.url())
}

// hop is one line of an act.
func (p printer) hop(where, format string, a ...any) {
	p.say("   %-8s %s", where, fmt.Sprintf(format, a...))
}

func (p printer) tunnel(s sighting) {
	v4 := s.outerDst.As4()
	p.hop("6rd", "on the IPv4 wire: %s → %s, IPv6 inside", s.outerSrc, s.outerDst)
	p.hop("", "(%x:%x is %s in hex: the relay needs no table)", v4[:2], v4[2:], s.outerDst)
}

func (p printer) verdict(v verdict) {
	word := p.green("allowed")
	if v.Verdict != "allow" {
		word = p.red("refused")
	}
	p.hop("genkan", "%s by rule %q, genkan.toml line %d", word, v.Rule, v.Line)
}

func (p printer) backend(visits []visit) {
	if len(visits) == 0 {
		p.hop("backend", "sees nothing of it")
	}
	for _, v := range visits {
		p.hop("backend", "sees %s over IPv4, X-Forwarded-For: %s", v.remote, v.forwarded)
	}
}

func (p printer) answer(a answer) {
	p.hop("answer", "%s in %.1f ms", a.status, float64(a.took.Microseconds())/1000)
}

func (p printer) failure(err error) { p.say("   %s %v", p.red("WRONG   "), err) }

func (p printer) allGood() { p.say("\n%s", p.green("All went as it must.")) }

func (p printer) hints(l *lab.Lab) {
	p.say("\n%s", p.bold("Try it from another terminal:"))
	p.say("")
	if _, err := exec.LookPath("curl"); err != nil {
		p.say("   apt-get install curl")
	}
	p.say("   %s", l.Client6.Enter("curl 'http://["+lab.Front6.String()+"]/'"))
	p.say("   %s", l.Client4.Enter("curl http://"+lab.FrontV4.String()+"/"))
	if _, err := exec.LookPath("ping"); err == nil {
		p.say("   %s", l.Client6.Enter("ping -c 3 "+lab.Front6.String()))
	}
	p.say("   %s", l.Front.Enter("ip -6 address show dev tun6rd"))
	p.say("   %s", l.Backend.Enter("ip -6 address"))
	p.say("\nCtrl-C ends the demo and removes everything.")
}
