package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"genkan/cmd/genkan/config"
	"genkan/proxy"
)

// importUFWCommand is "genkan import ufw".
func importUFWCommand(io streams) *cobra.Command {
	var file, source string
	cmd := &cobra.Command{
		Use:   "ufw [-c FILE] [--status FILE]",
		Short: "Say which access each site and forward would have by ufw's rules",
		Long: `Import ufw reads "ufw status verbose" and prints, for each site and forward of the configuration, the access that says
the same: Anywhere becomes "all", so that one rule holds for both families, and LIMIT becomes a limit that IPv6 has too.
It prints what could not be carried over, and the ufw lines that let the clients of Genkan and the tunnel's protocol 41
pass. It changes nothing.`,
		Args: arguments(0, 0, "[-c FILE]"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			plan, err := config.Load(file, config.Options{})
			if err != nil {
				return err
			}
			var text []byte
			if source != "" {
				text, err = readSource(source, io.in)
			} else {
				text, err = askUFW(cmd.Context())
			}
			if err != nil {
				return err
			}
			rules, err := parseUFW(string(text))
			if err == nil {
				_, err = fmt.Fprint(io.out, ufwReport(rules, plan))
			}
			return err
		},
	}
	configFlag(cmd, &file)
	cmd.Flags().StringVar(&source, "status", "", "read \"ufw status verbose\" from `FILE`, - for standard input; without it ufw is asked")
	return cmd
}

func askUFW(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ufw", "status", "verbose")
	cmd.Env = append(cmd.Environ(), "LC_ALL=C")
	var said bytes.Buffer
	cmd.Stderr = &said
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("ufw status verbose: %w: %s", err, bytes.TrimSpace(said.Bytes()))
	}
	return text, nil
}

// ufwReport says what ufw's rules are for the services of a plan.
func ufwReport(u *ufw, plan *config.Plan) string {
	var b strings.Builder
	b.WriteString("# What ufw admits, as access of each site and forward.\n")
	if !u.v6 {
		b.WriteString("# ufw has no rules for IPv6: those for IPv4 hold for both families here.\n")
	}
	carried := make([]bool, len(u.lines))
	service := func(header string, listens []proxy.Listen) {
		fmt.Fprintf(&b, "\n[%s]", header)
		var all [][]string
		for _, l := range listens {
			rules := u.access(l, carried)
			if len(all) == 0 || strings.Join(all[len(all)-1], "\n") != strings.Join(rules, "\n") {
				all = append(all, rules)
				fmt.Fprintf(&b, "   # %s\n%s", l, writeAccess(rules))
			}
		}
		if len(all) > 1 {
			b.WriteString("# ufw judges its ports differently: take one of them, or make a forward of each port\n")
		}
	}
	for _, s := range plan.Proxy.Sites {
		service(fmt.Sprintf("site.%q", s.Name), s.Listen)
	}
	for _, f := range plan.Proxy.Forwards {
		service("forward."+f.Name, f.Listen)
	}
	u.writeRest(&b, carried)
	writeOpenings(&b, plan)
	return b.String()
}

func writeAccess(rules []string) string {
	if len(rules) == 1 {
		return fmt.Sprintf("access = [%q]\n", rules[0])
	}
	var b strings.Builder
	b.WriteString("access = [\n")
	for _, r := range rules {
		fmt.Fprintf(&b, "\t%q,\n", r)
	}
	return b.String() + "]\n"
}

// writeRest lists what is not in any access.
func (u *ufw) writeRest(b *strings.Builder, carried []bool) {
	first := true
	for i, l := range u.lines {
		why := l.odd
		switch {
		case l.out:
			why = "not about who comes in"
		case why == "" && carried[i]:
			continue
		case why == "":
			why = "no site or forward listens there"
		}
		if first {
			b.WriteString("\n# Not carried over:\n")
			first = false
		}
		note := ""
		if l.odd != "" && !l.out && l.action != "allow" && l.action != "limit" {
			note = "; it refuses somebody, so look at it"
		}
		fmt.Fprintf(b, "#   %s   (%s%s)\n", l.text, why, note)
	}
}

// writeOpenings says how ufw lets our clients pass: whom, our own rules decide.
func writeOpenings(b *strings.Builder, plan *config.Plan) {
	b.WriteString("\n# For ufw, so that clients reach these rules:\n")
	name := ""
	if t := plan.Tunnel; t != nil {
		if name = t.Interface; name == "" {
			name = "tun6rd"
		}
		b.WriteString("#   sed -i 's/^IPV6=no/IPV6=yes/' /etc/default/ufw && ufw reload\n#   ufw allow proto ipv6 from any to any\n")
	}
	seen := map[string]bool{}
	open := func(listens []proxy.Listen) {
		for _, l := range listens {
			if line := opening(l, name); !seen[line] {
				seen[line] = true
				fmt.Fprintf(b, "#   %s\n", line)
			}
		}
	}
	for _, s := range plan.Proxy.Sites {
		open(s.Listen)
	}
	for _, f := range plan.Proxy.Forwards {
		open(f.Listen)
	}
}

func opening(l proxy.Listen, tunnel string) string {
	ports := itoa(int(l.Port))
	if l.PortEnd > l.Port {
		ports += ":" + itoa(int(l.PortEnd))
	}
	switch {
	case l.Tunnel:
		return fmt.Sprintf("ufw allow in on %s to any port %s proto %s", tunnel, ports, l.Network)
	case l.Addr.IsValid():
		return fmt.Sprintf("ufw allow to %s port %s proto %s", l.Addr, ports, l.Network)
	}
	return fmt.Sprintf("ufw allow %s/%s", ports, l.Network)
}
