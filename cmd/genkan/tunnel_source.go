package main

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"genkan/cmd/genkan/config"
)

// A tunnelSource is where the parameters of a tunnel come from: a configuration file or the command line.
type tunnelSource struct {
	file    string
	quick   config.QuickTunnel
	replace bool
}

func (s *tunnelSource) add(cmd *cobra.Command) {
	configFlag(cmd, &s.file)
	flags := cmd.Flags()
	flags.StringVar(&s.quick.Prefix, "prefix", "", "the provider's 6rd `PREFIX`, in place of a file")
	flags.StringArrayVar(&s.quick.Relays, "relay", nil, "the provider's border relay, an `IPV4` address; may be repeated")
	flags.BoolVar(&s.quick.DHCP, "dhcp", false, "prefix and relays by DHCP (option 212), in place of a file")
	flags.StringVar(&s.quick.Local, "local", "", "our `IPV4` address; without it the source address towards the relay")
	flags.IntVar(&s.quick.IPv4MaskLen, "ipv4-mask-len", 0, "leading `BITS` of IPv4 that the whole domain shares")
	flags.StringVar(&s.quick.Interface, "interface", "", "the interface's `NAME`; without it tun6rd")
	flags.StringVar(&s.quick.Datapath, "datapath", "", "`auto, kernel, ebpf or userspace`")
	flags.StringVar(&s.quick.Expose, "expose", "", "what the tunnel lets in: our `listeners, or all`")
	flags.BoolVar(&s.replace, "replace", false, "replace an interface of the same name, and stand before a default route that exists")
}

var errNoTunnelSection = errors.New("the configuration has no [tunnel]; write one, or --prefix PREFIX --relay IPV4, or --dhcp")

// byCommandLine reports whether the command line has the parameters, not a file.
func (s *tunnelSource) byCommandLine() bool {
	return s.quick.Prefix != "" || len(s.quick.Relays) > 0 || s.quick.DHCP
}

// refuseMixture is an error where one part of the parameters is given by a file and another by flags: one of the two
// would not be heard.
func (s *tunnelSource) refuseMixture(flags *pflag.FlagSet) (err error) {
	if s.byCommandLine() {
		if flags.Changed("config") {
			return fmt.Errorf("--config %s: the tunnel is on the command line, too; leave out one of them", s.file)
		}
		return nil
	}
	keys := map[string]string{"local": "local", "ipv4-mask-len": "ipv4_mask_len", "interface": "interface", "datapath": "datapath", "expose": "expose"}
	flags.Visit(func(f *pflag.Flag) {
		if key, is := keys[f.Name]; is && err == nil {
			err = fmt.Errorf("--%s %s: the tunnel comes from %s; write [tunnel] %s there, or give --prefix and --relay, or --dhcp, here", f.Name, f.Value, s.file, key)
		}
	})
	return err
}

// plan reads the parameters.
func (s *tunnelSource) plan() (*config.Plan, error) {
	var plan *config.Plan
	var err error
	if s.byCommandLine() {
		plan, err = s.quick.Plan()
	} else {
		plan, err = config.Load(s.file, config.Options{})
	}
	switch {
	case err != nil:
		return nil, err
	case plan.Tunnel == nil:
		return nil, errNoTunnelSection
	}
	plan.Tunnel.Replace = s.replace
	return plan, nil
}

// args gives the same parameters to another process.
func (s *tunnelSource) args() []string {
	q := s.quick
	args := []string{"--config", s.file}
	if s.byCommandLine() {
		args = []string{"--ipv4-mask-len", strconv.Itoa(q.IPv4MaskLen)}
	}
	for _, r := range q.Relays {
		args = append(args, "--relay", r)
	}
	for _, f := range [][2]string{{"--prefix", q.Prefix}, {"--local", q.Local}, {"--interface", q.Interface}, {"--datapath", q.Datapath}, {"--expose", q.Expose}} {
		if f[1] != "" {
			args = append(args, f[0], f[1])
		}
	}
	if q.DHCP {
		args = append(args, "--dhcp")
	}
	if s.replace {
		args = append(args, "--replace")
	}
	return args
}
