// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"cmp"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// Status is what a guard knows of itself.
type Status struct {
	PID          int               `json:"pid"` // in the guard's own namespace
	Root         string            `json:"root"`
	BootTime     int64             `json:"boottime_ns"` // CLOCK_BOOTTIME when asked
	KillSwitch   KillSwitch        `json:"kill_switch"`
	Actions      []string          `json:"actions"` // what this guard can do, whatever the machine lets it
	Leases       []Lease           `json:"leases"`
	Network      []NetworkCount    `json:"network"` // since the guard started
	Listed       Listed            `json:"listed"`
	Verdicts     map[string]uint64 `json:"verdicts"`
	Damaged      []Damage          `json:"damaged"`
	Unread       []Damage          `json:"unread"` // cgroups that could not be looked at yet; Knob is ""
	Losses       []Loss            `json:"losses"`
	Requirements []Requirement     `json:"requirements"`
	Audit        []Entry           `json:"audit"` // oldest first
}

// Listed is whom the operator named to the guard, see [Network], and where the node is.
type Listed struct {
	Environment Environment    `json:"environment"`
	Management  []netip.Prefix `json:"management"`
	Peers       []netip.Prefix `json:"peers"`
	Allowed     []netip.Prefix `json:"allowed"`
}

// KillSwitch is the state of the file that switches all action off.
type KillSwitch struct {
	Path  string `json:"path"`
	On    bool   `json:"on"`
	Cause string `json:"cause,omitempty"`
}

// Lease is a lease held now. Original and Value are in the knob's own unit,
// [arc.Unlimited] and above is "max"; Deadline is CLOCK_BOOTTIME in ns.
type Lease struct {
	Cgroup    uint64 `json:"cgroup"`
	Interface uint32 `json:"interface,omitempty"` // of a shield, which has no cgroup
	Path      string `json:"path"`
	Knob      string `json:"knob"`
	Device    string `json:"device,omitempty"` // major:minor, of a knob that is one of a device's
	Observed  bool   `json:"observed,omitempty"`
	Busy      bool   `json:"busy,omitempty"` // being written to: all but cgroup, knob and deadline unknown
	Original  uint64 `json:"original"`
	Value     uint64 `json:"value"`
	// Declared is what the owner of the cgroup may be told that is held: no tighter
	// than Value, and for longer.
	Declared uint64 `json:"declared,omitempty"`
	// Coupled are the originals of files that turning the knob changes.
	Coupled    map[string]uint64 `json:"coupled,omitempty"`
	Generation uint64            `json:"generation"`
	Deadline   int64             `json:"deadline_ns"`
	Reason     string            `json:"reason"`
}

// NetworkCount is how many packets network actions dropped or let pass, and why.
type NetworkCount struct {
	Action  string `json:"action"`
	Reason  string `json:"reason"`
	Packets uint64 `json:"packets"`
}

// Packets are what the guard's programs have judged since it started.
func (g *Guard) Packets() []NetworkCount { return g.network.totals() }

// Damage is a lease record that cannot be read, on a knob that is left alone.
type Damage struct {
	Cgroup uint64 `json:"cgroup"`
	Path   string `json:"path"`
	Knob   string `json:"knob"`
	Cause  string `json:"cause"`
}

// Loss counts how often another owner rewrote a cgroup's knob under a lease.
type Loss struct {
	Cgroup   uint64 `json:"cgroup"`
	Times    int    `json:"times"`
	HandsOff bool   `json:"hands_off"`
}

// Entry is one decision in the audit. Renewals of one lease that follow each
// other are one entry, of the last of them.
type Entry struct {
	At        int64  `json:"at_ns"` // CLOCK_BOOTTIME
	Times     int    `json:"times"`
	Cgroup    uint64 `json:"cgroup"`
	Interface uint32 `json:"interface,omitempty"`
	Path      string `json:"path,omitempty"`
	Action    string `json:"action"`
	Verb      string `json:"verb"`
	Verdict   string `json:"verdict"`
	Original  uint64 `json:"original,omitempty"`
	Value     uint64 `json:"value,omitempty"`
	Cause     string `json:"cause,omitempty"`
	Reason    string `json:"reason,omitempty"`
}

// Status returns a snapshot.
func (g *Guard) Status() Status {
	s := Status{PID: os.Getpid(), Root: g.root.Name(), BootTime: g.config.Clock(), Actions: g.actions(), Requirements: g.Requirements()}
	s.KillSwitch.Path = g.config.KillSwitch
	s.KillSwitch.On, s.KillSwitch.Cause = g.killed()
	s.Listed = Listed{Environment: g.config.Network.Environment.row().name, Management: g.config.Network.Management, Peers: g.config.Network.Peers, Allowed: g.config.Network.Allowed}
	s.Leases = g.Leases()
	s.Network = g.network.totals()
	g.mu.Lock()
	s.Damaged, s.Unread, s.Losses = []Damage{}, []Damage{}, []Loss{}
	for _, u := range g.unread {
		s.Unread = append(s.Unread, u)
	}
	for _, d := range g.damage {
		s.Damaged = append(s.Damaged, d)
	}
	for id, n := range g.losses {
		s.Losses = append(s.Losses, Loss{Cgroup: id, Times: n, HandsOff: n >= handsOffAfter})
	}
	g.mu.Unlock()
	slices.SortFunc(s.Damaged, func(a, b Damage) int { return cmp.Compare(a.Cgroup, b.Cgroup) })
	slices.SortFunc(s.Unread, func(a, b Damage) int { return cmp.Compare(a.Cgroup, b.Cgroup) })
	slices.SortFunc(s.Losses, func(a, b Loss) int { return cmp.Compare(a.Cgroup, b.Cgroup) })
	s.Verdicts, s.Audit = g.log.snapshot()
	return s
}

// Leases returns what is held, by cgroup.
func (g *Guard) Leases() []Lease {
	all := []Lease{}
	for _, observe := range []bool{false, true} {
		for _, l := range g.leases(observe) {
			if lease, held := l.status(); held {
				all = append(all, lease)
			}
		}
		for _, l := range g.network.leases(observe) {
			if lease, held := l.status(); held {
				all = append(all, lease)
			}
		}
	}
	slices.SortFunc(all, func(a, b Lease) int { return cmp.Compare(a.Cgroup, b.Cgroup) })
	return all
}

func (l *lease) status() (s Lease, held bool) {
	if !l.mu.TryLock() { // what it changes is not known before it is done
		return Lease{Cgroup: l.key.cgroup, Knob: l.name(), Observed: l.observed, Busy: true, Deadline: l.deadline.Load()}, true
	}
	defer l.mu.Unlock()
	s = Lease{
		Cgroup: l.key.cgroup, Path: l.path, Knob: l.name(), Observed: l.observed, Original: uint64(l.record.Original),
		Value: l.value, Declared: uint64(l.record.High), Generation: l.record.Generation, Deadline: l.deadline.Load(), Reason: l.reason,
	}
	for file, v := range l.record.Coupled {
		if s.Coupled == nil {
			s.Coupled = map[string]uint64{}
		}
		s.Coupled[file] = uint64(v)
	}
	if l.knob.device() {
		s.Device = l.device.String()
	}
	return s, !l.ended
}

// actions names what this guard can do, in the order of the arc's.
func (g *Guard) actions() []string {
	known := []string{}
	for a := arc.ActionNone + 1; a < arc.NumActions; a++ {
		permitted := !isQuarantine(a) || g.config.Network.Quarantine
		if g.knobs[a] != nil || overNetwork(a) && permitted {
			known = append(known, a.String())
		}
	}
	return known
}

// audit is a preallocated ring: recording a decision needs no memory, disk or
// network.
type audit struct {
	mu       sync.Mutex
	ring     [256]Entry
	last     int // of the newest entry
	count    int
	verdicts [arc.VerdictFailed + 1]uint64
}

func (a *audit) add(now int64, path string, o *arc.Order, out *arc.Outcome) {
	a.put(Entry{
		At: now, Times: 1, Cgroup: o.Cgroup, Interface: o.Interface, Path: path, Action: o.Action.String(), Verb: o.Verb.String(), Verdict: out.Verdict.String(),
		Original: out.Original, Value: out.Value, Cause: out.Cause, Reason: clip(o.Reason, MaxReason),
	}, out.Verdict)
}

// turnAway records what did not become an order: a connection, or a message.
func (a *audit) turnAway(now int64, cause error) {
	a.put(Entry{At: now, Times: 1, Verdict: arc.VerdictRefused.String(), Cause: cause.Error()}, arc.VerdictRefused)
}

func (a *audit) put(e Entry, verdict arc.Verdict) {
	e.Cause = clip(e.Cause, maxCause)
	a.mu.Lock()
	defer a.mu.Unlock()
	if int(verdict) < len(a.verdicts) {
		a.verdicts[verdict]++
	}
	newest := &a.ring[a.last]
	if a.count > 0 && newest.Cgroup == e.Cgroup && newest.Interface == e.Interface && newest.Action == e.Action && newest.Verb == e.Verb && newest.Verdict == e.Verdict && newest.Cause == e.Cause {
		e.Times += newest.Times
		*newest = e
		return
	}
	a.last = (a.last + 1) % len(a.ring)
	a.ring[a.last] = e
	a.count = min(a.count+1, len(a.ring))
}

// maxCause bounds a cause in the audit, in bytes: some quote the order.
const maxCause = 512

// clip shortens what somebody else chose, and keeps nothing of the rest.
func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.Clone(s[:most])
}

func (a *audit) snapshot() (map[string]uint64, []Entry) {
	a.mu.Lock()
	defer a.mu.Unlock()
	verdicts := map[string]uint64{}
	for v, n := range a.verdicts {
		if n > 0 {
			verdicts[arc.Verdict(v).String()] = n
		}
	}
	entries := make([]Entry, 0, a.count)
	for i := a.count - 1; i >= 0; i-- {
		entries = append(entries, a.ring[(a.last-i+len(a.ring))%len(a.ring)])
	}
	return verdicts, entries
}
