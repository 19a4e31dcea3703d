package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"genkan/acl"
	"genkan/proxy"
)

// How long the processes of an upgrade wait for each other.
const (
	upgradeWithin = time.Minute      // from the start of the younger one to its readiness
	switchWithin  = 15 * time.Second // while clients wait
)

// waits reports whether a process before waits for this one to be ready, and would go on in its place.
func (in *inherited) waits() bool { return in.older != nil }

// failed tells the process before why this one does not take over. nil is no failure.
func (in *inherited) failed(err error) {
	if err == nil || in.older == nil {
		return
	}
	_ = in.older.say(word{Say: sayFailed, Why: err.Error()}, time.Now().Add(time.Second)) // it sees our end, too
	in.older.close()
	in.older = nil
}

// meet tells the process before that the configuration holds, and waits for what is under way there. Nothing was opened
// yet, so the wait costs nothing; from here on clients wait.
func (f *front) meet() ([]proxy.Parcel, error) {
	older := f.from.older
	if older == nil {
		return nil, nil
	}
	patience := time.Now().Add(upgradeWithin)
	hello, err := older.hear(patience)
	if err == nil && hello.Say != sayHello {
		err = fmt.Errorf("the process before says %q first", hello.Say)
	}
	if err != nil {
		return nil, alone(err)
	}
	if f.plan.Tunnel != nil && hello.Tunnel.IsValid() {
		// What listens through the tunnel is known before it is taken over, so that its filter admits it all the time.
		if f.from.ports, err = planPorts(f.plan, acl.AddrFrom(hello.Tunnel)); err != nil {
			return nil, err
		}
	}
	if err := older.say(word{Say: sayPrepared, Version: version}, patience); err != nil {
		return nil, alone(err)
	}
	var parcels []proxy.Parcel
	for {
		w, err := older.hear(patience)
		switch {
		case err != nil:
			return nil, alone(err)
		case w.Say == sayParcel && w.Parcel != nil:
			parcels = append(parcels, *w.Parcel)
		case w.Say == sayGo:
			return parcels, nil
		case w.Say == sayFailed:
			return nil, errors.New("the process before gives up: " + w.Why)
		}
	}
}

// alone is the error of a process before that is gone: then nobody has asked for this one any more.
func alone(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("the process before has ended during the upgrade; whoever looks after it starts another one")
	}
	return fmt.Errorf("the process before: %w", err)
}

// takeOver tells the process before that this one serves, and waits until it has gone out of the way.
func (f *front) takeOver() error {
	older := f.from.older
	if older == nil {
		return nil
	}
	f.from.older = nil
	defer older.close()
	until := time.Now().Add(switchWithin)
	if err := older.say(word{Say: sayReady}, until); err != nil {
		return err
	}
	w, err := older.hear(until)
	if errors.Is(err, io.EOF) || err == nil && w.Say == sayYours {
		f.proxy.Stay() // what was made for the pools is ours now
		return nil     // the service is ours, whatever has become of it
	}
	return errors.Join(err, fmt.Errorf("the process before says %q", w.Say))
}
