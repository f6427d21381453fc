// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/extension/reflexextension"
	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
	"github.com/otelcol-reflex/reflex/internal/guard"
	"github.com/otelcol-reflex/reflex/internal/words"
)

// withoutCollector is how long the guard keeps hands off where nobody said and
// no collector knows of an episode.
const withoutCollector = 10 * time.Minute

// target is what to release.
type target struct {
	cgroup uint64 // 0 with all
	path   string
	all    bool
	node   bool // every socket of it
	// lockedOut says that nobody need get into the node any more.
	lockedOut bool
}

// released is what became of a release.
type released struct {
	Target string `json:"target"`
	Cgroup uint64 `json:"cgroup,omitempty"`
	// Confirmed says that nothing is held any more, and By who says so: guard or
	// collector.
	Confirmed bool   `json:"confirmed"`
	By        string `json:"by,omitempty"`
	// Leases is how many the guard gave back, where it was told and not the collector.
	Leases *int `json:"leases,omitempty"`
	// HandsOff is for how long hands are kept off, in seconds; 0 is until the episode
	// is over.
	HandsOff float64 `json:"hands_off_s"`
	// Record is the order's in the collector's journal; 0 where it is in none.
	Record uint64 `json:"journal_record,omitempty"`
}

func (r *released) line() string {
	off := "until this episode is over"
	if r.HandsOff > 0 {
		off = "for " + time.Duration(r.HandsOff*float64(time.Second)).String()
	}
	switch {
	case r.Leases != nil:
		return fmt.Sprintf("%d leases given back by the guard, which refuses older orders about them %s; not in the journal", *r.Leases, off)
	case r.Confirmed:
		return fmt.Sprintf("%s: nothing is held any more, says the %s; hands off %s (journal record %d)", r.Target, r.By, off, r.Record)
	}
	return ""
}

func (t *target) covers(cgroup uint64) bool { return t.all || t.cgroup == cgroup }

func (t *target) String() string {
	switch {
	case t.all:
		return "everything"
	case t.node:
		return "the node"
	case t.path != "":
		return t.path
	}
	return fmt.Sprintf("cgroup %d", t.cgroup)
}

func releaseCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "release {CGROUP | --all | --node}",
		Short: "Give a cgroup back what it had, and keep hands off it",
		Long: `Give back the original of whatever is held on a cgroup, and see to it that it is
not taken again: for the rest of this episode, or as long as --for says. CGROUP is
a path below the cgroup root (/system.slice/payment.service), the end of one that
is held (payment.service), or the kernel's id. Hands can be kept off a cgroup on
which nothing is held yet: that takes --for.

The collector is told on its operators' socket, and its policy keeps hands off,
that workload's next cgroup included. Where it does not answer the guard is told,
which then refuses older orders about that cgroup for as long as --for says (10m);
of the cgroups that come later it knows nothing. Both answer root and the
collector's user. --node ends a quarantine of the whole node, which is root's and the
guard's alone; --all does not, and reflexctl kill-switch does. Every release is in the journal with the uid of who asked for it,
and the --reason.

To stop Reflex as a whole: reflexctl kill-switch on. To keep it off a workload for
good: safelist in the configuration.

Exit status: 0 the originals are back, 1 failure, 4 ordered but not confirmed.`,
		Example: `  sudo reflexctl release payment.service --reason 'known batch run'
  sudo reflexctl release /system.slice/payment.service --for 1h
  sudo reflexctl release --all --for 30m
  sudo reflexctl release --node`,
		Args: cobra.MaximumNArgs(1),
	}
	var (
		all      bool
		node     bool
		handsOff time.Duration
		root     string
	)
	output, o := outputFlag(c), operatorFlags(c)
	c.Flags().BoolVar(&all, "all", false, "everything that is held, and every cgroup from then on")
	c.Flags().BoolVar(&node, "node", false, "end a quarantine of the whole node")
	c.Flags().DurationVar(&handsOff, "for", 0, "for how long to keep hands off (default: until the episode is over)")
	c.Flags().StringVar(&root, "cgroup-root", "", "cgroup v2 directory in which paths are looked up (default: the machine's)")
	c.MarkFlagsMutuallyExclusive("node", "all")
	c.MarkFlagsMutuallyExclusive("node", "for")
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := o.validate(); err != nil {
			return err
		}
		if handsOff < 0 || c.Flags().Changed("for") && handsOff < time.Second {
			return fmt.Errorf(`invalid argument %q for "--for" flag: must be at least 1s`, handsOff)
		}
		if node && len(args) == 0 {
			return o.releaseNode(c, *output)
		}
		if all == (len(args) == 1) || node {
			return errors.New("name one cgroup to release, or --all; reflexctl leases lists what is held")
		}
		t := target{all: all}
		if !all {
			var err error
			if t, err = o.resolve(c.Context(), args[0], root); err != nil {
				return err
			}
		}
		r, err := o.release(c, &t, handsOff)
		switch {
		case r == nil:
			return err
		case *output == asJSON:
			return errors.Join(writeJSON(c, r), err)
		case err == nil:
			fmt.Fprintln(c.OutOrStdout(), words.Printable(r.line()))
		}
		return err
	}
	return c
}

// resolve finds out which cgroup is meant.
func (o *operator) resolve(ctx context.Context, name, root string) (target, error) {
	var known []held
	h, err := leasesOf(ctx, o.guard, o.collector())
	switch {
	case err == nil:
		known = h.Leases
	case errors.Is(err, fs.ErrPermission):
		return target{}, err
	}
	if id, err := strconv.ParseUint(name, 10, 64); err == nil && id != 0 {
		t := target{cgroup: id}
		for i := range known {
			if known[i].Cgroup == id {
				t.path = known[i].Path
			}
		}
		return t, nil
	}
	at := path.Clean("/" + name)
	var matches []target
	for i := range known {
		l := &known[i]
		if l.Cgroup != 0 && (l.Path == at || strings.HasSuffix(l.Path, at)) && !slices.ContainsFunc(matches, func(t target) bool { return t.cgroup == l.Cgroup }) {
			matches = append(matches, target{cgroup: l.Cgroup, path: l.Path})
		}
	}
	switch len(matches) {
	case 0:
		return lookUp(at, root)
	case 1:
		return matches[0], nil
	}
	return target{}, fmt.Errorf("%s is %d cgroups on which something is held: give a whole path, or an id of reflexctl leases", name, len(matches))
}

// lookUp finds a cgroup on which nothing is held.
func lookUp(at, root string) (target, error) {
	if root == "" {
		var err error
		if root, err = cgroupfs.FindRoot(); err != nil {
			return target{}, fmt.Errorf("nothing is held on %s, and it cannot be looked up: %w", at, err)
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(root, at), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR || at == "/" {
		return target{}, fmt.Errorf("nothing is held on %s, and there is no such cgroup below %s: see reflexctl leases", at, root)
	}
	return target{cgroup: st.Ino, path: at}, nil
}

// release tells the collector, or the guard where no collector takes it. What became of
// it is nil where nobody took the order.
func (o *operator) release(c *cobra.Command, t *target, handsOff time.Duration) (*released, error) {
	order := reflexextension.OperatorOrder{
		Action: "release", Cgroup: t.cgroup, Path: t.path, All: t.all, For: handsOff.Seconds(), Reason: o.reason,
	}
	var answer reflexextension.OperatorAnswer
	err := o.collector().post(c.Context(), "operator", order, &answer)
	var no *refused
	switch {
	case err == nil:
		return o.confirm(c, t, handsOff, answer.Record)
	case errors.As(err, &no) && no.code != http.StatusServiceUnavailable:
		return nil, fmt.Errorf("the collector refused: %w", err)
	}
	fmt.Fprintf(c.ErrOrStderr(), "the collector does not take the order (%s); telling the guard\n", words.Printable(err.Error()))
	if handsOff == 0 {
		handsOff = withoutCollector
	}
	n, err := ask(c.Context(), o.guard, func(ctx context.Context, g *guard.Client) (int, error) {
		return o.releaseAtGuard(ctx, g, t, handsOff)
	})
	if err != nil {
		return nil, fmt.Errorf("release %s at the guard: %w%s", t, err, asRoot(err))
	}
	return &released{Target: t.String(), Cgroup: t.cgroup, Confirmed: true, By: "guard", Leases: &n, HandsOff: handsOff.Seconds()}, nil
}

// asRoot says what to do about an error of permission.
func asRoot(err error) string {
	if errors.Is(err, fs.ErrPermission) {
		return ": run as root"
	}
	return ""
}

// confirm waits until nothing is held any more, as far as can be asked.
func (o *operator) confirm(c *cobra.Command, t *target, handsOff time.Duration, record uint64) (*released, error) {
	r := &released{Target: t.String(), Cgroup: t.cgroup, HandsOff: handsOff.Seconds(), Record: record}
	gone, err := poll(c.Context(), o.patience, func() (bool, error) {
		h, err := leasesOf(c.Context(), o.guard, o.collector())
		if err != nil {
			return false, err
		}
		r.By = h.Source
		return !slices.ContainsFunc(h.Leases, func(l held) bool { return l.Action != nodeAction && t.covers(l.Cgroup) }), nil
	})
	if r.Confirmed = err == nil && gone; r.Confirmed {
		return r, nil
	}
	if err == nil {
		err = fmt.Errorf("something is still held after %s, says the %s: look at reflexctl leases and journal, or use reflexctl kill-switch on", o.patience, r.By)
	}
	return r, fmt.Errorf("ordered (journal record %d), but %w: %w", record, errUnconfirmed, err)
}

// releaseAtGuard gives back what the guard holds on t and returns how many
// leases that were. Orders of a generation up to the end of handsOff are refused
// from then on: a policy's generation is the instant of its grant.
func (o *operator) releaseAtGuard(ctx context.Context, g *guard.Client, t *target, handsOff time.Duration) (int, error) {
	s, err := g.Status(ctx)
	if err != nil {
		return 0, err
	}
	if s.KillSwitch.On {
		return 0, errors.New("the kill switch is on: nothing is held, nor will be before reflexctl kill-switch off")
	}
	var orders []arc.Order
	order := func(cgroup uint64, link uint32, action string, observe bool, generation uint64) error {
		known, ok := arc.ParseAction(action)
		if !ok {
			return fmt.Errorf("the guard knows %q, which this reflexctl does not: use reflexctl kill-switch on", action)
		}
		orders = append(orders, arc.Order{
			Cgroup: cgroup, Interface: link, Action: known, Verb: arc.Release, Observe: observe,
			Generation: max(generation, uint64(s.BootTime+int64(handsOff))), //nolint:gosec // an instant
			Reason:     fmt.Sprintf("by an operator (uid %d): %s", os.Geteuid(), o.reason),
		})
		return nil
	}
	n := 0
	for i := range s.Leases {
		if l := &s.Leases[i]; l.Knob != nodeAction && t.covers(l.Cgroup) {
			n++
			err = errors.Join(err, order(l.Cgroup, l.Interface, l.Knob, l.Observed, l.Generation))
		}
	}
	for _, action := range s.Actions { // what is not held yet
		if !t.all && action != arc.ActionShield.String() && action != nodeAction { // which are no cgroup's
			err = errors.Join(err, order(t.cgroup, 0, action, false, 0), order(t.cgroup, 0, action, true, 0))
		}
	}
	for i := range orders {
		if failed := releaseTwice(ctx, g, orders[i]); failed != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", orders[i].Action, failed))
		}
	}
	return n, err
}

// releaseTwice releases until nothing was held when it came: the guard remembers
// such a release, and refuses a hold that is no younger than it.
func releaseTwice(ctx context.Context, g *guard.Client, order arc.Order) error {
	for range 5 {
		var out arc.Outcome
		if err := g.Act(ctx, order, &out); err != nil {
			return err
		}
		switch out.Verdict {
		case arc.VerdictReleased, arc.VerdictObserved, arc.VerdictLost:
		default:
			return fmt.Errorf("the guard answers %s: %s", out.Verdict, out.Cause)
		}
		if out.Cause == guard.NothingHeld {
			return nil
		}
	}
	return errors.New("it is taken again at once, each time: use reflexctl kill-switch on")
}
