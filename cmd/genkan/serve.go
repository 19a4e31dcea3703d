package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"genkan/acl"
	"genkan/cmd/genkan/config"
	"genkan/proxy"
	"genkan/tunnel"
)

// A front is one running Genkan: the tunnel, if any, and the proxy.
type front struct {
	plan   *config.Plan
	log    *slog.Logger
	out    io.Writer      // standard output; nil: none
	tunnel *tunnel.Tunnel // nil: none
	proxy  *proxy.Server
	status *control // answers about the tunnel; nil: none

	lists    lists
	history  history
	findings *checkedUp
	steering steeringFile
	logs     *logHub // nil: nobody can listen
	names    *names  // DNS that follows the tunnel
	garbage  collector
	since    time.Time
	asked    chan reloadAsked  // by "genkan reload", taken by watch
	upgrades chan upgradeAsked // by "genkan upgrade", likewise
	ended    chan struct{}     // closed once nobody takes asked and upgrades any more
	control  *control          // answers subcommands; nil: none
	admin    admin             // shows state and metrics
	socket   string            // where; "": nowhere

	from     inherited     // of systemd, or of the process before
	instance *instance     // that this is the only process of its state directory; nil: it has none
	carrying carrier       // of the tunnel's packets
	stop     func()        // ends service
	gone     chan struct{} // closed once what was open has ended
	leaving  bool          // another process goes on

	reloads bool // SIGHUP reads the file again; without one it ends the process as it always did
}

// serve carries out the plan until ctx ends: tunnel, listeners, what the tunnel lets in, service. What fails before
// service undoes all that was done; the end of ctx does too, after what is open has finished.
//
// Where a process before goes on with the service until this one is ready, nothing is undone that it needs.
func (f *front) serve(ctx context.Context) (err error) {
	f.warn()
	defer func() { f.from.failed(err) }()
	parcels, err := f.meet()
	if err != nil {
		return err
	}
	if f.instance, err = f.alone(); err != nil {
		return err
	}
	defer f.instance.close()
	if err := f.raise(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.lower(ctx)) }()
	f.since, f.gone = time.Now(), make(chan struct{})
	f.asked, f.upgrades, f.ended = make(chan reloadAsked), make(chan upgradeAsked), make(chan struct{})
	f.names = newNames(f.log, f.plan.Proxy.StateDir)
	f.lists.front, f.findings = f, newCheckedUp()
	f.lists.open(f.plan)
	defer func() { err = errors.Join(err, f.lists.close()) }()
	defer f.garbage.stop()
	if err := f.open(ctx, parcels); err != nil {
		return err
	}
	return f.run(ctx)
}

// raise brings the tunnel up.
func (f *front) raise(ctx context.Context) error {
	if f.plan.Tunnel == nil {
		return nil
	}
	if err := mayTunnel(); err != nil {
		return err
	}
	mayAskLater()
	cfg := *f.plan.Tunnel
	cfg.Log, cfg.Inherited, cfg.Ports = f.log, f.from.tunnel(), f.from.ports
	inherited, err := f.from.takeListener(fdTunnelControl)
	if err != nil {
		return err
	}
	t, err := tunnel.Up(ctx, cfg)
	if err != nil {
		return err
	}
	f.tunnel = t
	f.status, err = startControl(controlSocket(cfg), inherited, f.answers())
	if err != nil {
		return errors.Join(err, f.lower(ctx))
	}
	if learns(f.plan.Tunnel) {
		plan, err := f.load(false)
		if err != nil {
			return errors.Join(err, f.lower(ctx))
		}
		f.plan = plan
	}
	return nil
}

// followNames lets DNS say what the plan and the tunnel are now.
func (f *front) followNames() {
	if f.tunnel != nil {
		f.names.follow(f.plan.DNS, f.tunnel.Address())
	}
}

// answers is what a running Genkan says to the subcommands of "genkan tunnel".
func (f *front) answers() http.Handler {
	notOurs := func(w http.ResponseWriter, _ *http.Request) {
		answer(w, nil, fmt.Errorf("the tunnel belongs to \"genkan run\" (process %d) and goes with it; stop that", os.Getpid()))
	}
	return serveRoutes([]route{
		{"GET /v1/tunnel", func(w http.ResponseWriter, _ *http.Request) {
			answer(w, tunnelStatus{Status: f.tunnel.Status(), Pid: os.Getpid()}, nil)
		}},
		{"POST /v1/tunnel/confirm", notOurs},
		{"POST /v1/tunnel/down", notOurs},
	})
}

// lower undoes raise. Where systemd is about to start the next process, the tunnel stays for that.
func (f *front) lower(ctx context.Context) error {
	if f.tunnel == nil {
		return nil
	}
	if f.leaving || f.from.waits() {
		return errors.Join(f.status.leave(), f.status.close(), f.tunnel.Leave())
	}
	if ctx.Err() != nil && restarting(ctx) {
		f.log.Info("the tunnel stays for the next process", "interface", f.tunnel.Interface())
		return errors.Join(f.status.close(), f.tunnel.Leave())
	}
	return errors.Join(f.status.close(), f.tunnel.Close())
}

// open binds all listeners or none, and lets them in through the tunnel.
func (f *front) open(ctx context.Context, parcels []proxy.Parcel) error {
	server, err := proxy.New(f.proxyConfig(f.plan))
	if err != nil {
		return err
	}
	collectBefore(server.MemoryLimit())
	f.garbage.start()
	if f.from.waits() {
		server.Leave() // until this process has taken over, what it has made is not its own
	}
	server.Take(parcels)
	if err := server.Inherit(f.from.sockets); err != nil {
		return errors.Join(err, server.Close())
	}
	if err := server.Listen(); err != nil {
		return err
	}
	f.proxy = server
	f.restoreSteering()
	err = f.admit()
	if err == nil {
		err = f.openAdmin(ctx)
	}
	if err == nil {
		err = f.openRunSocket(ctx)
	}
	if err != nil {
		if f.from.waits() {
			err = errors.Join(err, f.control.leave(), f.admin.leave())
		}
		return errors.Join(err, f.control.close(), f.admin.close(), server.Close())
	}
	for _, a := range server.Addrs() {
		f.log.Info("listening", "on", a.Network()+"/"+a.String())
	}
	f.logAdmin()
	return nil
}

// proxyConfig is a plan's part for the proxy, with what is known only now.
func (f *front) proxyConfig(plan *config.Plan) proxy.Config {
	cfg := plan.Proxy
	cfg.Log, cfg.Front, cfg.Stdout = f.log, hostname(), f.out
	if f.tunnel != nil {
		cfg.Tunnel = acl.AddrFrom(f.tunnel.Address())
		cfg.TunnelInterface = f.tunnel.Interface()
	}
	return cfg
}

// warn logs what is doubtful in the plan.
func (f *front) warn() {
	for _, w := range f.plan.Warnings {
		f.log.Warn("configuration: "+w.Msg, "at", w.Pos.String())
	}
}

// admit tells the tunnel's filter which ports are listened on.
func (f *front) admit() error {
	if f.tunnel == nil {
		return nil
	}
	return f.tunnel.SetPorts(tunnelPorts(f.proxy))
}

// tunnelPorts are the ports that a server is reached at through the tunnel.
func tunnelPorts(server *proxy.Server) []tunnel.Port {
	var ports []tunnel.Port
	for _, p := range server.Ports() {
		ports = append(ports, tunnel.Port{Proto: p.Proto, First: p.First, Last: p.Last})
	}
	return ports
}

// run serves until ctx ends or a part fails. The tunnel goes on until the proxy has drained, as what is open needs it.
func (f *front) run(ctx context.Context) error {
	serving, stopServing := context.WithCancel(ctx)
	defer stopServing()
	f.stop = stopServing
	f.carrying.start(f)
	var watching sync.WaitGroup
	f.lists.follow(serving, f.plan)
	f.keepConfig()
	hangups := f.hangups()
	watching.Go(func() { f.watch(serving, hangups) })
	watching.Go(func() { f.lists.serve(serving) })
	watching.Go(func() { f.history.serve(serving, f.proxy) })
	watching.Go(func() { f.findings.serve(serving, f) })
	f.followNames()
	watching.Go(func() { f.names.serve(serving) })
	watching.Go(func() { f.watchFiles(serving) })
	watching.Go(func() { f.ready(serving) })
	err := f.proxy.Serve(serving)
	stopServing()
	watching.Wait()
	close(f.gone)
	return errors.Join(err, f.control.close(), f.admin.close(), f.carrying.stop())
}

// ready tells the world that this process serves, and that it stops when ctx ends.
func (f *front) ready(ctx context.Context) {
	select {
	case <-f.proxy.Serving():
	case <-ctx.Done():
		return
	}
	if err := f.takeOver(); err != nil {
		f.log.Error("the process before cannot be told that this one serves", "error", err)
		f.stop()
		return
	}
	f.notify(daemon.SdNotifyReady)
	f.watchdog(ctx)
	<-ctx.Done()
	if !f.leaving {
		f.notify(daemon.SdNotifyStopping)
	}
}

// A carrier runs the tunnel's work, and can stop it for another process. The zero carrier carries nothing.
type carrier struct {
	cancel context.CancelFunc // nil: it does not run
	ended  chan error
}

// start moves the tunnel's packets until stop. A tunnel that fails ends the service, too.
func (c *carrier) start(f *front) {
	if f.tunnel == nil {
		return
	}
	var ctx context.Context
	ctx, c.cancel = context.WithCancel(context.Background())
	c.ended = make(chan error, 1)
	go func() {
		err := f.tunnel.Serve(ctx)
		if err == nil && ctx.Err() == nil {
			err = errors.New("the tunnel ended by itself; look at the lines above")
		}
		if err != nil {
			f.stop()
		}
		c.ended <- err
	}()
}

// stop returns when no packet is moved any more.
func (c *carrier) stop() error {
	if c.cancel == nil {
		return nil
	}
	c.cancel()
	c.cancel = nil
	return <-c.ended
}

// notify tells systemd, where it waits for that.
func (f *front) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		f.log.Warn("systemd cannot be told", "state", state, "error", err)
	}
}
