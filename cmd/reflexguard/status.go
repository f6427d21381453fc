// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
	"github.com/otelcol-reflex/reflex/internal/guard"
)

func statusCommand(o *options) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Ask the serving guard what it holds and what it decided",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client := guard.Dial(o.socket)
			defer func() { _ = client.Close() }()
			s, err := client.Status(c.Context())
			if err != nil {
				return err
			}
			if asJSON {
				e := json.NewEncoder(c.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(s)
			}
			return printStatus(c.OutOrStdout(), &s)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func printStatus(to io.Writer, s *guard.Status) error {
	w := writer{to: to}
	w.line("cgroup root  %s", s.Root)
	w.line("kill switch  %s (%s)", map[bool]string{true: "ON", false: "off"}[s.KillSwitch.On], s.KillSwitch.Path)
	for _, r := range guard.Missing(s.Requirements) {
		w.line("missing      %s: %s; %s", r.Name, r.Cause, r.Remedy)
	}
	w.line("leases       %d", len(s.Leases))
	for _, l := range s.Leases {
		if l.Busy {
			w.line("  cgroup %d %s is being written to, ends in %v", l.Cgroup, l.Knob, time.Duration(l.Deadline-s.BootTime).Round(time.Millisecond))
			continue
		}
		kind := ""
		if l.Observed {
			kind = " (observed only)"
		}
		knob := l.Knob
		if l.Device != "" {
			knob += " " + l.Device
		}
		w.line("  %s %s %s, originally %s, ends in %v%s: %s", l.Path, knob, limit(l.Value), limit(l.Original),
			time.Duration(l.Deadline-s.BootTime).Round(time.Millisecond), kind, l.Reason)
	}
	for _, n := range s.Network {
		if n.Packets > 0 {
			w.line("packets      %s %s %d", n.Action, n.Reason, n.Packets)
		}
	}
	for _, d := range s.Damaged {
		w.line("damaged      %s %s: %s; set the knob and remove its record by hand", d.Path, d.Knob, d.Cause)
	}
	for _, u := range s.Unread {
		w.line("unread       %s: %s; trying again", u.Path, u.Cause)
	}
	for _, l := range s.Losses {
		w.line("lost         cgroup %d, %d times, hands off: %v", l.Cgroup, l.Times, l.HandsOff)
	}
	for _, v := range []string{"granted", "held", "observed", "released", "refused", "lost", "failed"} {
		if n := s.Verdicts[v]; n > 0 {
			w.line("%-12s %d", v, n)
		}
	}
	for _, e := range s.Audit {
		w.line("  %v ago  %s %s %s (%d) %s %s x%d: %s %s", time.Duration(s.BootTime-e.At).Round(time.Millisecond),
			e.Verb, e.Action, e.Path, e.Cgroup, e.Verdict, limit(e.Value), e.Times, e.Reason, e.Cause)
	}
	return w.err
}

func limit(v uint64) string { return string(cgroupfs.AppendUint(nil, v)) }

// writer keeps the first error.
type writer struct {
	to  io.Writer
	err error
}

func (w *writer) line(format string, args ...any) {
	if w.err == nil {
		_, w.err = fmt.Fprintf(w.to, format+"\n", args...)
	}
}

func restoreCommand(o *options, log *slog.Logger) *cobra.Command {
	return &cobra.Command{
		Use:   "restore",
		Short: "Give every original back now; for when no guard is at work",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			unlock, unlocked, err := lock(c.Context(), o)
			if err != nil {
				return busy(err, o)
			}
			defer unlock()
			if unlocked != nil {
				log.Warn("another guard would not be noticed", "cause", unlocked)
			}
			g, err := patiently(c.Context(), func() (*guard.Guard, error) { return guard.New(o.config(log)) })
			if err != nil {
				return busy(err, o)
			}
			s := g.Status()
			for _, e := range s.Audit {
				if _, err := fmt.Fprintf(c.OutOrStdout(), "%s %s %s %s\n", e.Path, e.Action, e.Verdict, limit(e.Value)); err != nil {
					return errors.Join(err, g.Close())
				}
			}
			if n := len(s.Damaged); n > 0 {
				err = fmt.Errorf("%d lease records cannot be read; their knobs were left alone", n)
			}
			for _, r := range guard.Missing(s.Requirements) {
				err = errors.Join(err, fmt.Errorf("what is left cannot be known: %s is missing (%s): %s", r.Name, r.Cause, r.Remedy))
			}
			return errors.Join(err, g.Close()) // which tells of what could not be read or given back
		},
	}
}

// busy says what to do where another guard is at work.
func busy(err error, o *options) error {
	if errors.Is(err, guard.ErrLocked) {
		return fmt.Errorf("%w: it restores when it is stopped, or when the kill switch %s appears", err, o.killSwitch)
	}
	return err
}

// version is set by the linker; without that the build knows what it was made
// from.
var version = ""

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(c.OutOrStdout(), versionOf(debug.ReadBuildInfo()))
			return err
		},
	}
}

func versionOf(info *debug.BuildInfo, ok bool) string {
	if version != "" || !ok {
		return version
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && (v == "" || v == "(devel)") {
			v = s.Value
		}
	}
	return v
}
