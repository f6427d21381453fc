// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/guard"
	"github.com/otelcol-reflex/reflex/internal/words"
)

const (
	quarantineTTL   = 15 * time.Second
	quarantineRenew = 5 * time.Second
	// longestQuarantine bounds what an operator may forget; of a node the guard's
	// own bound does.
	longestQuarantine = 24 * time.Hour
)

// quarantine holds a cgroup's network off, or the node's, as a lease that it renews.
type quarantine struct {
	guard  arc.Actuator
	order  arc.Order
	left   func() time.Duration // of a node's, for the guard to know; else nil
	renew  <-chan time.Time
	over   <-chan time.Time
	report func(format string, args ...any)
	// again returns a generation for another guard than the one that was asked last,
	// 0 where it is the same; it may be nil.
	again func(ctx context.Context) (generation uint64)
}

func quarantineCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "quarantine {--cgroup CGROUP | --node} --for DURATION",
		Short: "Cut a cgroup, or the whole node, off the network for a while",
		Long: `Ask the guard to let a cgroup's sockets exchange nothing but what is never cut, for
as long as --for says; with --node, every socket of the node. It is a lease of 15 s,
renewed every 5 s by this command, in the foreground: an interrupt (SIGINT, SIGTERM)
gives the network back at once, and so does the end of --for; if the command is killed,
or the session it runs in, the lease ends by itself within 15 s. For an end that needs
no session: systemd-run reflexctl quarantine ...

The guard has to be started with --allow-quarantine. It checks the order as it does the
policy's: what is on its safelist is refused, and so is everything while the kill switch
is on. It answers root and the collector's user.

--node is for root alone, where the collector is another user, and for an hour at most.
What the node must not be without still passes (docs/safety.md): loopback, ICMP errors,
neighbour discovery and DHCP; SSH to this node from the guard's --management; kubelet,
API server, etcd, BGP, DNS, NTP, storage, OTLP and overlays with its --peer; everything
with its --allow. Where the guard is told that operators get in another way, by
--environment, only the last of these. It is refused where nobody is listed who could
get in, or where this command is given over SSH from an address that would be cut off,
unless --without-a-way-in says that this is meant. Probes of pods on this node are cut
off too, unless their network is --allow'ed. Packets that this node only forwards pass.
To end it from elsewhere: reflexctl release --node, or the kill switch.

Exit status: 0 it was held until its end, 1 refused, lost or failed.`,
		Example: `  sudo reflexctl quarantine --cgroup /system.slice/payment.service --for 10m --reason 'exfiltration?'
  sudo reflexctl quarantine --node --for 10m --reason 'incident 42'
  sudo systemd-run reflexctl quarantine --node --for 1h    # needs no session`,
		Args: cobra.NoArgs,
	}
	var (
		cgroup, root string
		last         time.Duration
		node         target
	)
	o := operatorFlags(c)
	c.Flags().StringVar(&cgroup, "cgroup", "", "path below the cgroup root, or id, of the cgroup to cut off")
	c.Flags().BoolVar(&node.node, "node", false, "cut every socket of the node off, but for what it must not be without")
	c.Flags().BoolVar(&node.lockedOut, "without-a-way-in", false, "with --node: even if nobody, or not this session, could get in any more")
	c.Flags().DurationVar(&last, "for", 0, "for how long, 1s to 24h; with --node to 1h")
	c.Flags().StringVar(&root, "cgroup-root", "", "cgroup v2 directory in which paths are looked up (default: the machine's)")
	if err := c.MarkFlagRequired("for"); err != nil {
		panic(err) // the flag does not exist: a mistake in this program
	}
	c.MarkFlagsOneRequired("cgroup", "node")
	c.MarkFlagsMutuallyExclusive("cgroup", "node")
	c.MarkFlagsMutuallyExclusive("cgroup", "without-a-way-in")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := o.validate(); err != nil {
			return err
		}
		longest := longestQuarantine
		if node.node {
			longest = guard.MaxNodeQuarantine
		}
		if last < time.Second || last > longest {
			return fmt.Errorf(`invalid argument %q for "--for" flag: must be 1s to %s`, last, longest)
		}
		if node.node {
			return o.quarantine(c, &node, last)
		}
		if cgroup == "" {
			return errors.New("name a cgroup, or --node")
		}
		t, err := o.resolve(c.Context(), cgroup, root)
		if err != nil {
			return err
		}
		return o.quarantine(c, &t, last)
	}
	return c
}

func (o *operator) quarantine(c *cobra.Command, t *target, last time.Duration) error {
	g := guard.Dial(o.guard)
	defer func() { _ = g.Close() }()
	s, err := g.Status(c.Context())
	if err != nil {
		return fmt.Errorf("quarantine %s: only the guard can, and it does not answer: %w%s", t, err, asRoot(err))
	}
	if err := t.keepsASession(&s.Listed); err != nil {
		return fmt.Errorf("quarantine %s: %w; %w", t, err, errNeverHeld)
	}
	renew := time.NewTicker(quarantineRenew)
	defer renew.Stop()
	over := time.NewTimer(last)
	defer over.Stop()
	q := &quarantine{
		guard: g, renew: renew.C, over: over.C,
		order: arc.Order{
			Cgroup: t.cgroup, Action: arc.ActionQuarantine, TTL: int64(quarantineTTL),
			Generation: uint64(s.BootTime), //nolint:gosec // an instant
			Reason:     fmt.Sprintf("by an operator (uid %d): %s", os.Geteuid(), o.reason),
		},
		report: func(format string, args ...any) {
			fmt.Fprintln(c.OutOrStdout(), words.Printable(fmt.Sprintf(format, args...)))
		},
	}
	if t.node {
		end := time.Now().Add(last)
		q.order.Action, q.order.NoWayIn = arc.ActionNodeQuarantine, t.lockedOut
		q.left = func() time.Duration { return time.Until(end) }
		for _, line := range stillPasses(&s.Listed) {
			q.report("%s", line)
		}
	}
	q.again = func(ctx context.Context) (generation uint64) {
		now, err := g.Status(ctx)
		if err != nil || now.PID == s.PID {
			return 0
		}
		s = now
		return uint64(now.BootTime) //nolint:gosec // an instant
	}
	err = q.hold(c.Context(), t, last, func() { o.tell(c, fmt.Sprintf("quarantine of %s for %s begun", t, last)) })
	if !errors.Is(err, errNeverHeld) {
		o.tell(c, fmt.Sprintf("quarantine of %s ended", t))
	}
	return err
}

// errNeverHeld says that the quarantine never began.
var errNeverHeld = errors.New("nothing was done")

// hold takes the lease, renews it until its end or an interrupt, and gives it
// back.
func (q *quarantine) hold(ctx context.Context, t *target, last time.Duration, begun func()) error {
	out, err := q.act(ctx, arc.Hold)
	switch {
	case err != nil:
		return fmt.Errorf("quarantine %s: %w; %w", t, err, errNeverHeld)
	case out.Verdict != arc.VerdictGranted && out.Verdict != arc.VerdictHeld:
		return fmt.Errorf("quarantine %s: the guard answers %s: %s; %w (what it can do: reflexctl levels)", t, out.Verdict, out.Cause, errNeverHeld)
	}
	if out.Cause != "" {
		q.report("%s", out.Cause)
	}
	q.report("%s is cut off, for %s; an interrupt ends it", t, last)
	begun()
	err = q.keep(ctx)
	// The order's own context may be what ended.
	out, failed := q.act(context.WithoutCancel(ctx), arc.Release)
	switch {
	case failed != nil:
		err = errors.Join(err, fmt.Errorf("the guard did not take the release; the lease ends by itself within %s: %w", quarantineTTL, failed))
	case out.Verdict == arc.VerdictReleased:
		q.report("%s has its network back", t)
	default:
		err = errors.Join(err, fmt.Errorf("the release was answered %s: %s", out.Verdict, out.Cause))
	}
	return err
}

// keep renews until the end, an interrupt, or an answer that ends the lease. A
// guard that does not answer is asked again: its lease may outlive its silence.
func (q *quarantine) keep(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-q.over:
			return nil
		case <-q.renew:
		}
		out, err := q.act(ctx, arc.Hold)
		if err == nil && out.Verdict == arc.VerdictRefused && q.again != nil {
			// Another guard does not know what the one before it granted.
			if generation := q.again(ctx); generation != 0 {
				q.order.Generation = generation
				out, err = q.act(ctx, arc.Hold)
			}
		}
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // an interrupt is an end
		case err != nil:
			q.report("not renewed, trying again: %v", err)
		case out.Verdict != arc.VerdictHeld && out.Verdict != arc.VerdictGranted:
			return fmt.Errorf("the quarantine ended early: the guard answers %s: %s", out.Verdict, out.Cause)
		}
	}
}

func (q *quarantine) act(ctx context.Context, verb arc.Verb) (arc.Outcome, error) {
	var out arc.Outcome
	order := q.order
	order.Verb = verb
	if q.left != nil {
		order.Parameter = uint64(max(q.left(), guard.MinTTL)) //nolint:gosec // positive
	}
	err := q.guard.Act(ctx, order, &out)
	return out, err
}
