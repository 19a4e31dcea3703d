package tunnel

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/vishvananda/netlink"
)

// TakeDown takes back what a process that is gone has left of a tunnel, by its
// state file alone: cfg needs no more than Interface and StateDir. It reports
// whether there was anything. A tunnel that a living process owns is an error.
func TakeDown(cfg Config) (found bool, err error) {
	cfg = cfg.withDefaults()
	t := &Tunnel{cfg: cfg}
	if t.ns, err = currentNamespace(); err != nil {
		return false, err
	}
	err = t.ns.do(func() error {
		var left *state
		if t.file, left, err = openState(cfg.StateDir, cfg.Interface, nil); err != nil {
			return err
		}
		found = left != nil
		if t.state, err = t.standing(left); err != nil {
			return errors.Join(err, t.file.unlock())
		}
		if err := t.takeBack(nil); err != nil {
			return errors.Join(err, t.file.unlock())
		}
		return t.file.remove()
	})
	return found, errors.Join(err, t.ns.close())
}

// Plan returns what Up would do, one change a line, in the words of ip(8),
// sysctl(8) and nft(8). It changes nothing. With datapath "auto" it shows the
// userspace one: which it will be is known only by trying.
func Plan(ctx context.Context, cfg Config) ([]string, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg, err := Leased(ctx, cfg.withDefaults())
	if err != nil {
		return nil, err
	}
	s, err := cfg.survey(ctx)
	if err != nil {
		return nil, err
	}
	if cfg.Datapath == DatapathAuto {
		cfg.Datapath = DatapathUserspace
	}
	steps, err := s.steps(cfg.Datapath, 0)
	if err != nil {
		return nil, err
	}
	var lines []string
	ours, err := cfg.stands()
	if err == nil && !ours {
		var old netlink.Link
		if old, err = cfg.namesake(); old != nil {
			lines = append(lines, Deletes+cfg.Interface)
		}
	}
	if err != nil {
		return nil, err
	}
	for _, st := range steps {
		lines = append(lines, st.String())
	}
	return lines, nil
}

// Deletes begins the line of a plan that says that a foreign interface is
// replaced. It is the one change that nobody can take back.
const Deletes = "ip link del "

// stands reports whether an interface of our name is what an earlier process
// has left.
func (c Config) stands() (bool, error) {
	left, err := c.left()
	if err != nil || left == nil {
		return false, err
	}
	link, err := netlink.LinkByName(c.Interface)
	return err == nil && left.ownsLink(link), nil
}

// left is what the state file says of this boot and namespace, nil for nothing.
func (c Config) left() (*state, error) {
	left, err := (&stateFile{path: filepath.Join(c.StateDir, c.Interface+".json")}).load()
	if err != nil || left == nil {
		return nil, err
	}
	ns, err := currentNamespace()
	if err != nil {
		return nil, err
	}
	boot, err := bootID()
	if err = errors.Join(err, ns.close()); err != nil || left.Boot != boot || left.Namespace != ns.inode {
		return nil, err
	}
	return left, nil
}

// LeftBy returns the process that made what stands of a tunnel, by its state
// file, whether it lives or not; 0 where there is nothing. cfg needs no more than
// Interface and StateDir.
func LeftBy(cfg Config) (pid int, err error) {
	left, err := cfg.withDefaults().left()
	if err != nil || left == nil {
		return 0, err
	}
	return left.Pid, nil
}
