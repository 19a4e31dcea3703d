package filter

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// answer bounds the wait for each transaction: a kernel without nf_tables
// answers the first message of one only.
const answer = 10 * time.Second

// dial connects to nftables in the network namespace of the calling thread.
func dial() (*nftables.Conn, error) {
	return nftables.New(nftables.WithSockOptions(func(c *netlink.Conn) error {
		return c.SetDeadline(time.Now().Add(answer))
	}))
}

// absent is an error where the kernel has no tables for IPv6 at all.
func absent() error {
	conn, err := dial()
	if err != nil {
		return err
	}
	// Without nf_tables: "invalid argument". A question loads the module.
	_, err = conn.ListTablesOfFamily(nftables.TableFamilyIPv6)
	if err == nil {
		table := &nftables.Table{Family: nftables.TableFamilyIPv6, Name: TableName("absent")}
		conn.AddTable(table)
		conn.DelTable(table)
		err = conn.Flush()
	}
	for _, lacking := range []error{unix.EINVAL, unix.EOPNOTSUPP, unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT} {
		if errors.Is(err, lacking) {
			return fmt.Errorf("this kernel has no nftables for IPv6 (load the module nf_tables, CONFIG_NF_TABLES and CONFIG_NF_TABLES_IPV6): %w", first(err))
		}
	}
	return nil
}

// first is the cause of a failed transaction: each message after it fails, too.
func first(err error) error {
	var cause unix.Errno
	if errors.As(err, &cause) {
		return cause
	}
	return err
}
