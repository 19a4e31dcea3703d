package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/spf13/cobra"

	_ "genkan/cmd/genkan/quiet" // before tea
	"genkan/proxy"
)

// topEvery is how often "genkan top" looks.
const topEvery = time.Second

// topCommand is "genkan top".
func topCommand(streams streams) *cobra.Command {
	var socket string
	var once bool
	cmd := &cobra.Command{
		Use:   "top [--once]",
		Short: "Watch what is going on, by family, site, backend and client",
		Long: `Top shows rates, second by second: tab and the arrows, or 1 to 4, go through families, sites and forwards, backends
and clients (an IPv4 address or IPv6 /64); q ends it. With --once all four are written once, after one second.`,
		Args: arguments(0, 0, "[--once]"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if in, ok := streams.in.(*os.File); !once && (!ok || !isTerminal(in) || !isTerminal(streams.out)) {
				return usagef("top needs a terminal; write genkan top --once, or genkan status --json for programs")
			}
			first, err := lookAtTop(cmd.Context(), socket)
			if err != nil {
				return err
			}
			if once {
				return topOnce(cmd.Context(), streams.out, socket, first)
			}
			model := topModel{ctx: cmd.Context(), socket: socket, now: first, before: first}
			end, err := tea.NewProgram(model, tea.WithAltScreen(), tea.WithContext(cmd.Context()),
				tea.WithInput(streams.in), tea.WithOutput(underlying(streams.out))).Run()
			if err != nil {
				return err
			}
			return end.(topModel).err
		},
	}
	cmd.Flags().StringVar(&socket, "socket", runSocket, "the running Genkan's `SOCKET`")
	cmd.Flags().BoolVar(&once, "once", false, "write it once, for programs and tests")
	return cmd
}

// A topLook is what was seen at one moment.
type topLook struct {
	at    time.Time
	state runState
	open  connectionsState
}

func lookAtTop(ctx context.Context, socket string) (l topLook, err error) {
	l.at = time.Now()
	if l.state, err = askFor[runState](ctx, socket, "/v1/status"); err != nil {
		return l, err
	}
	l.open, err = askFor[connectionsState](ctx, socket, "/v1/connections?limit="+strconv.Itoa(mostConnections))
	return l, err
}

// topOnce writes all views, of what happens within topEvery.
func topOnce(ctx context.Context, out io.Writer, socket string, before topLook) error {
	select {
	case <-time.After(topEvery):
	case <-ctx.Done():
		return ctx.Err()
	}
	now, err := lookAtTop(ctx, socket)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, topHead(now))
	for view := range topViews {
		fmt.Fprintln(out)
		if err := printTable(out, topRows(before, now, view)); err != nil {
			return err
		}
	}
	return nil
}

// A topModel is the live view.
type topModel struct {
	ctx           context.Context // ends it
	socket        string
	before, now   topLook
	view          int
	width, height int // of the terminal, 0: not known yet
	err           error
}

// What a topModel hears: a look, or that none could be had.
type topFailed struct{ err error }

// Init implements tea.Model.
func (m topModel) Init() tea.Cmd { return m.later() }

// later looks again after topEvery.
func (m topModel) later() tea.Cmd {
	return tea.Tick(topEvery, func(time.Time) tea.Msg {
		look, err := lookAtTop(m.ctx, m.socket)
		if err != nil {
			return topFailed{err}
		}
		return look
	})
}

// Update implements tea.Model.
func (m topModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case topLook:
		m.before, m.now = m.now, msg
		return m, m.later()
	case topFailed:
		m.err = msg.err
		return m, tea.Quit
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.KeyMsg:
		switch key := msg.String(); key {
		case "q", "esc", "ctrl+c":
			return m, tea.Quit
		case "tab", "right":
			m.view = (m.view + 1) % len(topViews)
		case "shift+tab", "left":
			m.view = (m.view + len(topViews) - 1) % len(topViews)
		case "1", "2", "3", "4":
			m.view = int(key[0] - '1')
		}
	}
	return m, nil
}

// View implements tea.Model.
func (m topModel) View() string {
	var text strings.Builder
	fmt.Fprintln(&text, topHead(m.now))
	for i, name := range topViews {
		mark := " %d %s "
		if i == m.view {
			mark = "[%d %s]"
		}
		fmt.Fprintf(&text, mark, i+1, name)
	}
	fmt.Fprintln(&text, "  tab: next, q: quit")
	rows := topRows(m.before, m.now, m.view)
	shortenNames(rows, topNames[m.view], m.width)
	_ = printTable(&text, rows) // a Builder takes all
	lines := strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
	if more := len(lines) - m.height; m.height > 1 && more > 0 {
		lines = append(lines[:m.height-1], fmt.Sprintf("and %d more; a higher terminal shows them", more+1))
	}
	for i, line := range lines {
		if runes := []rune(line); m.width > 0 && len(runes) > m.width {
			lines[i] = string(runes[:m.width])
		}
	}
	return strings.Join(lines, "\n")
}

// topViews are the names of the views, in their order.
var topViews = [...]string{"families", "sites and forwards", "backends", "clients"}

// topNames are the columns of the views that may be long: names.
var topNames = [...]int{0, 0, 1, 0}

// shortenNames makes the names in a column so short that the others fit beside it, as numbers without an end mislead. 0 is a
// width that is not known.
func shortenNames(rows [][]string, column, width int) {
	const least, gap = 8, 2
	widest := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, text := range row {
			widest[i] = max(widest[i], len([]rune(text)))
		}
	}
	room := width
	for i, w := range widest {
		if i != column {
			room -= w + gap
		}
	}
	room = max(room, least)
	if width == 0 || widest[column] <= room {
		return
	}
	for _, row := range rows {
		if name := []rune(row[column]); len(name) > room {
			row[column] = string(name[:room-1]) + "…"
		}
	}
}

func topHead(l topLook) string {
	s := l.state
	text := fmt.Sprintf("genkan %s, up %s, %d open", s.Version, l.at.Sub(s.Since).Round(time.Second), l.open.Total)
	if s.Tunnel != nil {
		text += fmt.Sprintf(", tunnel %s by %s", s.Tunnel.Address, s.Tunnel.Datapath)
	}
	return text
}

// topRows is one view, as a table.
func topRows(before, now topLook, view int) [][]string {
	seconds := max(now.at.Sub(before.at).Seconds(), 0.001)
	rate := func(before, now int64) string { return fmt.Sprintf("%.1f", float64(max(now-before, 0))/seconds) }
	switch view {
	case 0:
		return familyRows(before, now, rate)
	case 1:
		return serviceRows(before, now, rate)
	case 2:
		return backendRows(before, now, rate)
	}
	return clientRows(now.open.Connections)
}

func familyRows(before, now topLook, rate func(before, now int64) string) [][]string {
	open := map[bool]int{}
	for _, c := range now.open.Connections {
		open[c.Client.Is4()]++
	}
	rows := [][]string{{"FAMILY", "OPEN", "NEW/S", "DENIED/S", "HOSTILE/S", "ACCEPTED"}}
	for _, f := range []struct {
		name   string
		is4    bool
		was, i proxy.FamilyStats
	}{{"IPv6", false, before.state.Proxy.IPv6, now.state.Proxy.IPv6}, {"IPv4", true, before.state.Proxy.IPv4, now.state.Proxy.IPv4}} {
		rows = append(rows, []string{f.name, itoa(open[f.is4]), rate(f.was.Accepted, f.i.Accepted), rate(f.was.Denied, f.i.Denied),
			rate(f.was.Hostile, f.i.Hostile), strconv.FormatInt(f.i.Accepted, 10)})
	}
	return rows
}

func serviceRows(before, now topLook, rate func(before, now int64) string) [][]string {
	type key struct{ kind, name string }
	was := map[key]proxy.ServiceStats{}
	for _, s := range before.state.Proxy.Services {
		was[key{s.Kind, s.Name}] = s
	}
	all := slices.Clone(now.state.Proxy.Services)
	slices.SortStableFunc(all, func(a, b proxy.ServiceStats) int {
		return cmp.Compare(b.Allowed-was[key{b.Kind, b.Name}].Allowed, a.Allowed-was[key{a.Kind, a.Name}].Allowed)
	})
	rows := [][]string{{"OF", "ALLOWED/S", "DENIED/S", "FAILED/S", "MEDIAN", "P99", "ALLOWED"}}
	for _, s := range all {
		w := was[key{s.Kind, s.Name}]
		waited := s.Waited.Since(w.Waited)
		rows = append(rows, []string{s.Kind + " " + s.Name, rate(w.Allowed, s.Allowed), rate(w.Denied, s.Denied), rate(w.Failed, s.Failed),
			quantileWords(waited, 0.5), quantileWords(waited, 0.99), strconv.FormatInt(s.Allowed, 10)})
	}
	return rows
}

func quantileWords(h proxy.Histogram, q float64) string {
	if h.Count() == 0 {
		return "-"
	}
	return h.Quantile(q).Round(10 * time.Microsecond).String()
}

func backendRows(before, now topLook, rate func(before, now int64) string) [][]string {
	was := map[proxy.BackendID]proxy.BackendStats{}
	for _, b := range distinctBackends(before.state.Proxy.Backends) {
		was[b.BackendID] = b
	}
	rows := [][]string{{"BACKEND", "OF", "OPEN", "NEW/S", "FAILED/S", "STATE"}}
	for _, b := range distinctBackends(now.state.Proxy.Backends) {
		w := was[b.BackendID]
		_, words := backendWords(b)
		rows = append(rows, []string{b.Backend, b.Kind + " " + b.Name, strconv.FormatInt(b.Open, 10), rate(w.Total, b.Total), rate(w.Failures, b.Failures), words})
	}
	return rows
}

// clientRows adds the connections up by client: an IPv4 address or an IPv6 /64.
func clientRows(all []proxy.Connection) [][]string {
	type client struct {
		name           string
		open, up, down int64
	}
	sums := map[string]*client{}
	for _, c := range all {
		name := c.Client.String()
		if p, err := c.Client.Netip().Prefix(64); err == nil && !c.Client.Is4() {
			name = p.String()
		}
		if sums[name] == nil {
			sums[name] = &client{name: name}
		}
		one := sums[name]
		one.open, one.up, one.down = one.open+1, one.up+c.Up, one.down+c.Down
	}
	var clients []*client
	for _, c := range sums {
		clients = append(clients, c)
	}
	slices.SortFunc(clients, func(a, b *client) int { return cmp.Or(cmp.Compare(b.open, a.open), cmp.Compare(a.name, b.name)) })
	rows := [][]string{{"CLIENT", "OPEN", "UP", "DOWN"}}
	for _, c := range clients {
		rows = append(rows, []string{c.name, strconv.FormatInt(c.open, 10), bytesOf(c.up), bytesOf(c.down)})
	}
	return rows
}
