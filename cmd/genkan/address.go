package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"genkan/acl"
)

// addressCommand is "genkan address": what a text is, in canonical form.
func addressCommand(io streams) *cobra.Command {
	var kind, file, sixRD string
	var nat64 []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "address [--as KIND] [--json] TEXT… | -",
		Short: "Say what an address or prefix is, in canonical form, and what is embedded in it",
		Long: `Address reads each text as Genkan itself would and says what it is: the canonical form, the family,
and which IPv4 address stands inside an IPv6 one. With - it reads lines from standard input.

KIND is one of addr, match, prefix, range, hostport, xff (an element of X-Forwarded-For), fwd (a "for" of
RFC 7239) and embed (only what is inside); without --as it is guessed. The exit status is 1 if any text is
none of that.`,
		Args: arguments(1, -1, "[--as KIND] TEXT…"),
		RunE: func(cmd *cobra.Command, args []string) error {
			env, err := addressEnv(cmd.Context(), file, sixRD, nat64)
			if err != nil {
				return err
			}
			a := addresser{kind: acl.Kind(kind), env: env, out: io.out, json: asJSON}
			if err := a.checkKind(); err != nil {
				return err
			}
			if len(args) == 1 && args[0] == "-" {
				err = a.lines(io.in)
			} else {
				for _, text := range args {
					err = errors.Join(err, a.one(text))
				}
			}
			if err == nil && a.invalid {
				return exit(1)
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&kind, "as", "", "read it as this `KIND`; guessed without it")
	flags.BoolVar(&asJSON, "json", false, "one JSON object a line")
	flags.StringVar(&sixRD, "6rd", "", "also look inside addresses of this 6rd domain, `PREFIX[,IPV4/MASKLEN]`")
	flags.StringArrayVar(&nat64, "nat64", nil, "also look inside addresses of this NAT64 `PREFIX`; may be repeated")
	flags.StringVarP(&file, "config", "c", "", "take both from this configuration `FILE`")
	return cmd
}

// addressEnv is what may be inside an address besides what the RFCs say.
func addressEnv(ctx context.Context, file, sixRD string, nat64 []string) (acl.Env, error) {
	var env acl.Env
	if file != "" {
		plan, err := loadBeside(ctx, file)
		if err != nil {
			return env, err
		}
		env = plan.Env
	}
	if sixRD != "" {
		d, err := acl.ParseSixRD(sixRD)
		if err != nil {
			return env, usagef("--6rd %w", err)
		}
		env.SixRD = d
	}
	for _, text := range nat64 {
		p, err := acl.ParseNAT64(text)
		if err != nil {
			return env, usagef("--nat64 %w", err)
		}
		env.NAT64 = append(env.NAT64, p)
	}
	return env, nil
}

// An addresser answers for one text after the other.
type addresser struct {
	kind    acl.Kind
	env     acl.Env
	out     io.Writer
	json    bool
	invalid bool // one was
}

func (a *addresser) checkKind() error {
	names := make([]string, 0, 8)
	for _, k := range acl.Kinds() {
		if a.kind == k || a.kind == "" {
			return nil
		}
		names = append(names, string(k))
	}
	return usagef("--as %q: unknown kind; write %s", a.kind, strings.Join(names, ", "))
}

// longestLine is what of a line of standard input is read; no address is as long. The rest is passed over.
const longestLine = 4096

// lines answers for each line, as it comes. Only the newline is taken off.
func (a *addresser) lines(in io.Reader) error {
	lines := bufio.NewReaderSize(in, longestLine)
	for {
		line, err := lines.ReadSlice('\n')
		text := strings.TrimSuffix(string(line), "\n")
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = lines.ReadSlice('\n')
		}
		if len(text) > 0 || err == nil {
			if err := a.one(text); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// An identity is the answer for one text in JSON.
type identity struct {
	Input     string          `json:"input"`
	OK        bool            `json:"ok"`
	Canonical string          `json:"canonical"` // "" where it is invalid
	Kind      acl.Kind        `json:"kind"`
	Family    string          `json:"family"` // "ipv4", "ipv6", or "" for a name
	Embedded  []acl.Embedding `json:"embedded"`
	Error     string          `json:"error"`
}

func (a *addresser) one(text string) error {
	id, err := acl.Identify(a.kind, text, a.env)
	answer := identity{Input: text, OK: err == nil, Canonical: id.Canonical, Kind: id.Kind, Family: id.Family, Embedded: id.Embedded}
	if answer.Embedded == nil {
		answer.Embedded = []acl.Embedding{}
	}
	if err != nil {
		a.invalid = true
		answer.Canonical, answer.Error = "", err.Error()
	}
	if a.json {
		return writeJSON(a.out, answer)
	}
	_, err = fmt.Fprintln(a.out, answer.words())
	return err
}

// words is the answer for people.
func (id identity) words() string {
	if !id.OK {
		return id.Error
	}
	s := fmt.Sprintf("%q: %s", id.Input, kindWords(id))
	if id.Kind == acl.KindEmbed {
		return s
	}
	for _, e := range id.Embedded {
		s += fmt.Sprintf("; inside (%s): %s", e.Mechanism, e.IPv4)
	}
	return s
}

func kindWords(id identity) string {
	family := map[string]string{"ipv4": "IPv4 ", "ipv6": "IPv6 "}[id.Family]
	switch id.Kind {
	case acl.KindPrefix:
		return "the " + family + "prefix " + id.Canonical
	case acl.KindRange:
		return "the " + family + "range " + id.Canonical
	case acl.KindHostPort:
		return "the place " + id.Canonical
	case acl.KindEmbed:
		return id.Canonical
	}
	return "the " + family + "address " + id.Canonical
}
