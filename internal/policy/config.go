// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strings"
	"time"
)

// Ending says what happens to a contained cgroup whose headroom is spent.
type Ending uint8

const (
	// EndingRelease gives the original limit back and lets the kernel's own
	// limits decide.
	EndingRelease Ending = iota
	// EndingHold keeps the ceiling where it is until the cgroup calms down or
	// somebody ends it.
	EndingHold
	// EndingFreeze stops every task of the cgroup, beside the ceiling, until
	// somebody ends it.
	EndingFreeze
)

var endingNames = [...]string{"release", "hold", "freeze"}

// String returns the ending's name as it is configured.
func (e Ending) String() string {
	if int(e) < len(endingNames) {
		return endingNames[e]
	}
	return "unknown"
}

// ParseEnding is the inverse of [Ending.String].
func ParseEnding(s string) (Ending, error) {
	for e, name := range endingNames {
		if s == name {
			return Ending(e), nil //nolint:gosec // a handful
		}
	}
	return 0, fmt.Errorf("unknown ending %q, want one of %s", s, strings.Join(endingNames[:], ", "))
}

// Config holds the numbers of the rules. [DefaultConfig] gives the defaults.
type Config struct {
	// Observe sets Order.Observe on every order and changes nothing else.
	Observe bool

	// Own is the id of the collector's own cgroup, 0 where it is not known: what it
	// has to wait for harms nobody.
	Own uint64

	// Resources are those that are judged, Enforced those of them that are acted
	// upon: the others' orders carry Order.Observe.
	Resources, Enforced Resources
	// MaxLevel is the highest level: 1 to 5.
	MaxLevel int

	// Persist of the last Window decisions must be anomalous before anybody is
	// touched.
	Persist, Window int

	// Horizon is how near a projected exhaustion must be to count as harm.
	Horizon time.Duration
	// StallBudget is the share of time tasks may be stalled on memory (PSI
	// some, of the node, 0 to 1) before that alone is harm.
	StallBudget float64
	// CPUStallBudget and IOStallBudget are the shares of time that others may wait
	// for a CPU, or for I/O, beyond what is usual for them (PSI some, of the cgroup
	// that suffers most) before that is harm.
	CPUStallBudget, IOStallBudget float64
	// DropBudget is the packets a second that interfaces may drop, one way, beyond
	// what is usual, before that is harm.
	DropBudget float64
	// RetransmitBudget is the TCP segments a second that may be sent again beyond
	// what is usual, while a cgroup sends a surge that nobody answers, before that is
	// as bad.
	RetransmitBudget float64
	// SoftIRQBudget is the CPU time in software interrupts, in CPUs, beyond what is
	// usual that is as bad.
	SoftIRQBudget float64
	// NodeTasks is how many tasks the node can hold; 0 where that is not known.
	NodeTasks uint64
	// Sustain is how long a harm that is a rate must last while it rises before
	// anybody is touched. One that stands must last three times as long; one that
	// falls settles by itself.
	Sustain time.Duration
	// StartupGrace is the age (of the oldest process) below which growth is no
	// harm, unless others stall.
	StartupGrace time.Duration
	// GraceLost is for how long a name has no grace after it was contained or
	// its growth ended in an OOM kill.
	GraceLost time.Duration

	// Margin is how many times faster than the runner-up the culprit grows.
	Margin float64
	// MinGrowth is the growth in bytes a second below which nobody is a
	// candidate, and the rest the same for other resources: tasks a second; CPUs,
	// bytes a second of I/O and packets a second above what is usual.
	MinGrowth, MinTasks, MinCPU, MinIO, MinPackets float64

	// GrowthBudget is the least growth of a ceiling in bytes a second on its opening,
	// and its growth where no limit is known. 6.5 MB/s kept 97 % of the answers of a
	// leaking service (research on moving ceilings, kernel 6.12).
	GrowthBudget float64
	// BuyTime is how far the ceiling moves exhaustion out.
	BuyTime time.Duration
	// StepEvery is the time between two ticks that move a ceiling, as they are due: half a
	// tick less as they are taken.
	StepEvery time.Duration
	// TTL is the life of a lease, Renew how often it is renewed at least.
	TTL, Renew time.Duration
	// MaxLeases bounds the leases held at once, MaxShare the share of the node's
	// cgroups that they may be on (two are always allowed), ActionsPerMinute the
	// leases begun within a minute.
	MaxLeases        int
	MaxShare         float64
	ActionsPerMinute int

	// Weight is what cpu.weight and io.weight are lowered to; 100 is the kernel's
	// default.
	Weight uint64
	// TaskMargin is how many tasks more than it has a cgroup may get that is held
	// by pids.max, or a tenth of what it has if that is more.
	TaskMargin uint64

	// Ending applies when headroom is spent, or when a contained cgroup has for
	// NoProgress made none, or done less than it would unprotected.
	Ending     Ending
	NoProgress time.Duration
	// ReleaseAfter is how long a contained cgroup must not press against its
	// ceiling before it is released. It doubles with each recurrence, up to
	// eightfold, and halves again every GraceLost.
	ReleaseAfter time.Duration
	// Settle is how long a release takes to show (the kernel's residual sleep is
	// up to 2 s): no new lease on that cgroup before. A grant is given as long to
	// show before sampling slows down again.
	Settle time.Duration

	// WatchInterval is the sampling interval asked for from level 1, until what
	// is contained has settled.
	WatchInterval time.Duration
	// CloseAfter is how long scores must stay below the limit, with no lease,
	// before an episode closes.
	CloseAfter time.Duration
	// CoolOff is how long learning stays frozen after an episode.
	CoolOff time.Duration
	// Habituation ends the freeze and the fast sampling of anomalies that harm
	// nobody: when they have been watched for so long, in one episode or in several
	// not far apart, without stalls and without any exhaustion projected within
	// Habituation, the new behaviour may be learned.
	Habituation time.Duration
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		Resources:        AllResources,
		Enforced:         AllResources,
		MaxLevel:         LevelPressure,
		Persist:          2,
		Window:           3,
		Horizon:          60 * time.Second,
		StallBudget:      0.10,
		CPUStallBudget:   0.20,
		IOStallBudget:    0.20,
		DropBudget:       1000,
		RetransmitBudget: 20,
		SoftIRQBudget:    0.5,
		Sustain:          time.Second,
		StartupGrace:     120 * time.Second,
		GraceLost:        30 * time.Minute,
		Margin:           2,
		MinGrowth:        256 << 10,
		MinTasks:         20,
		MinCPU:           0.25,
		MinIO:            4 << 20,
		MinPackets:       10_000,
		GrowthBudget:     6_500_000,
		BuyTime:          10 * time.Minute,
		StepEvery:        100 * time.Millisecond,
		TTL:              15 * time.Second,
		Renew:            5 * time.Second,
		MaxLeases:        4,
		MaxShare:         0.1,
		ActionsPerMinute: 10,
		Weight:           10,
		TaskMargin:       64,
		Ending:           EndingRelease,
		NoProgress:       10 * time.Second,
		ReleaseAfter:     30 * time.Second,
		Settle:           2 * time.Second,
		WatchInterval:    10 * time.Millisecond,
		CloseAfter:       30 * time.Second,
		CoolOff:          60 * time.Second,
		Habituation:      10 * time.Minute,
	}
}

// Observes is [Config.Observes] of the policy's own numbers.
func (p *Policy) Observes(r Resource) bool { return p.cfg.Observes(r) }

// Observes says that orders about r are only observed.
func (c *Config) Observes(r Resource) bool { return c.Observe || !c.Enforced.Has(r) }
