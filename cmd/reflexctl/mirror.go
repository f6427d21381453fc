// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
	"github.com/otelcol-reflex/reflex/internal/guard"
	"github.com/otelcol-reflex/reflex/internal/mirror"
)

// mirrorNotes is where a mirror remembers what it told systemd: beside the guard's
// socket and kill switch, and gone with the boot like what it is about.
const mirrorNotes = "mirror.json"

func mirrorCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "mirror",
		Short: "Tell systemd what is held on its units, until interrupted",
		Long: `Ask the guard twice a second what it holds, and set the properties of the services and
scopes concerned to that, at runtime only (MemoryHigh, CPUWeight, CPUQuota, IOWeight,
TasksMax). Without it, systemd takes a limit back without knowing when it writes the
unit's settings again, and the lease is lost.

When a lease is over, the property gets back what it was, and the drop-in file that
systemd made for it is removed, so that systemctl may call for a daemon-reload: none is
needed. Interrupted, it takes everything back at once, which ends the leases concerned.
Killed, it goes on from its notes when it is started again. There is one at a time.

A unit is left alone, which is logged, where its cgroup does not have what its properties
say, and where a property was set for good (systemctl set-property).

It is meant to run as a service: distributions/otelcol-reflex/reflex-mirror.service.

Exit status: 0 interrupted, and everything taken back.`,
		Example: `  sudo reflexctl mirror
  sudo reflexctl mirror --undo    # after one that was killed and is not to run again`,
		Args: cobra.NoArgs,
	}
	var (
		socket, notes string
		undo          bool
	)
	guardFlag(c, &socket)
	c.Flags().StringVar(&notes, "notes", filepath.Join(filepath.Dir(guard.DefaultSocket), mirrorNotes), "file that remembers what systemd was told")
	c.Flags().BoolVar(&undo, "undo", false, "only take back what a former mirror told systemd")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if _, err := os.Stat("/run/systemd/system"); err != nil {
			return errors.New("this machine was not booted by systemd: nobody needs to be told")
		}
		root, err := cgroupfs.FindRoot()
		if err != nil {
			return err
		}
		unlock, err := guard.Lock(notes) // a file of its own, beside them
		if errors.Is(err, guard.ErrLocked) {
			return errors.New("another mirror is at work, which takes everything back when it is stopped: systemctl stop reflex-mirror")
		}
		if err != nil {
			return err
		}
		defer unlock()
		client := guard.Dial(socket)
		defer func() { _ = client.Close() }()
		m, err := mirror.New(mirror.Config{
			Leases: client.Leases, Manager: mirror.Systemd{}, Root: root, Notes: notes,
			Run: "/run/systemd", Etc: "/etc/systemd", Logger: slog.New(slog.NewTextHandler(c.ErrOrStderr(), nil)),
		})
		if err != nil {
			return err
		}
		if undo {
			err = m.Undo(c.Context())
		} else {
			err = m.Run(c.Context())
		}
		if err != nil {
			return fmt.Errorf("systemd still has a limit (try again: reflexctl mirror --undo): %w", err)
		}
		return nil
	}
	return c
}
