// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
	"github.com/otelcol-reflex/reflex/internal/episode"
	"github.com/otelcol-reflex/reflex/internal/policy"
	"github.com/otelcol-reflex/reflex/internal/webhook"
)

// Status is the JSON served at /status. Its keys are an interface: scripts and
// reflexctl read them.
type Status struct {
	// Version is the collector's.
	Version string `json:"version,omitempty"`
	// Mode is what was asked for and what is in effect: enforcing without a
	// guard that answers is observing.
	Mode ModeStatus `json:"mode"`
	// Problem says in one line what keeps the extension from doing what it was
	// asked to.
	Problem string      `json:"problem,omitempty"`
	Guard   GuardStatus `json:"guard"`
	// Operator is how operators are listened to.
	Operator OperatorStatus `json:"operator"`
	// Ladder is what may be ordered, by level, mildest first.
	Ladder []RungStatus `json:"ladder"`
	// Level is the level in force, LevelName its name.
	Level     int    `json:"level"`
	LevelName string `json:"level_name"`
	// Episode is the open episode, absent when there is none.
	Episode *EpisodeStatus `json:"episode,omitempty"`
	Leases  []LeaseStatus  `json:"leases"`
	Harm    *HarmStatus    `json:"harm,omitempty"`
	Input   InputStatus    `json:"input"`
	// Judgement is that of the last sample, absent before the first.
	Judgement *JudgementStatus `json:"judgement,omitempty"`
	// Missing lists what is missing for full function, with the remedy.
	Missing []need        `json:"missing"`
	Journal episode.Stats `json:"journal"`
	// JournalFile is where the journal is kept, absent where it is not.
	JournalFile *episode.FileStats `json:"journal_file,omitempty"`
	// Webhooks are those that are told of episodes, in the order of the configuration.
	Webhooks []webhook.Stats `json:"webhooks,omitempty"`
}

// ModeStatus is the mode asked for and the one in effect.
type ModeStatus struct {
	Requested string `json:"requested"`
	Effective string `json:"effective"`
}

// GuardStatus is the way to the guard and whether it answers.
type GuardStatus struct {
	Link      string `json:"link"`
	Reachable bool   `json:"reachable"`
	Cause     string `json:"cause,omitempty"`
}

// OperatorStatus is the socket for operators' orders, and why nobody listens
// there if so.
type OperatorStatus struct {
	Socket string `json:"socket"`
	Cause  string `json:"cause,omitempty"`
}

// RungStatus is one action that a level may order, and the pressed resource it
// answers.
type RungStatus struct {
	Level    int    `json:"level"`
	Resource string `json:"resource"`
	Action   string `json:"action"`
	// Observed says that an order of it is not carried out.
	Observed bool `json:"observed"`
}

// EpisodeStatus is the open episode.
type EpisodeStatus struct {
	ID string `json:"id"`
	// OpenFor is in seconds.
	OpenFor float64 `json:"open_for"`
}

// LeaseStatus is one lease, in seconds. Ceiling is what its action was set to;
// Amount says it in words, with its unit. Original is absent before the guard has
// answered; [arc.Unlimited] and above is none.
type LeaseStatus struct {
	Cgroup   uint64  `json:"cgroup"`
	Path     string  `json:"path"`
	Action   string  `json:"action"`
	Original *uint64 `json:"original,omitempty"`
	Observed bool    `json:"observed"`
	Phase    string  `json:"phase"`
	Verdict  string  `json:"verdict"`
	Level    int     `json:"level"`
	Ceiling  uint64  `json:"ceiling"`
	Amount   string  `json:"amount"`
	HeldFor  float64 `json:"held_for"`
	ExpireIn float64 `json:"expires_in"`
	Reason   string  `json:"reason"`
}

// HarmStatus is the harm in sight, in Unit and seconds; Text says it in words.
type HarmStatus struct {
	Kind       string   `json:"kind"`
	Unit       string   `json:"unit"`
	Text       string   `json:"text"`
	Available  uint64   `json:"available"`
	Limit      uint64   `json:"limit"`
	Growth     float64  `json:"growth"`
	Exhaustion *float64 `json:"exhaustion,omitempty"`
	Stall      float64  `json:"stall"`
}

// InputStatus is what arrives from the sampler.
type InputStatus struct {
	Source   string `json:"source,omitempty"`
	Judge    string `json:"judge,omitempty"`
	Sequence uint64 `json:"sequence"`
	// Age and Interval are in seconds.
	Age       float64 `json:"age"`
	Interval  float64 `json:"interval"`
	Cgroups   int     `json:"cgroups"`
	Truncated uint32  `json:"truncated,omitempty"`
	// Missed counts the ticks that the sampler has skipped since the start.
	Missed uint64 `json:"missed,omitempty"`
	Stale  bool   `json:"stale"`
}

// JudgementStatus is the last judgement. Numbers that are not finite are null.
type JudgementStatus struct {
	Sequence      uint64               `json:"sequence"`
	Ready         bool                 `json:"ready"`
	Anomalous     bool                 `json:"anomalous"`
	Frozen        bool                 `json:"frozen"`
	Score         *float64             `json:"score"`
	Limit         *float64             `json:"limit"`
	Distance      *float64             `json:"distance"`
	Velocity      *float64             `json:"velocity"`
	Acceleration  *float64             `json:"acceleration"`
	Confidence    *float64             `json:"confidence"`
	Contributions []ContributionStatus `json:"contributions"`
}

// ContributionStatus is one dimension's part of the score.
type ContributionStatus struct {
	Dimension string   `json:"dimension"`
	Share     *float64 `json:"share"`
	Value     *float64 `json:"value"`
	Usual     *float64 `json:"usual"`
}

// status gathers the present state.
func (r *reflex) status() Status {
	now := r.clock()
	s := r.snap.read()
	reached := r.executor.reached.Load()
	out := Status{
		Version:   r.build.Version,
		Mode:      ModeStatus{Requested: r.cfg.Mode, Effective: r.effective()},
		Problem:   r.problem(),
		Guard:     GuardStatus{Link: r.cfg.Guard, Reachable: r.executor.link != nil && reached.ok, Cause: reached.cause},
		Operator:  OperatorStatus{Socket: r.cfg.Operator.Socket, Cause: r.deaf},
		Ladder:    []RungStatus{},
		Level:     s.Level,
		LevelName: episode.LevelName(s.Level),
		Leases:    []LeaseStatus{},
		Input:     InputStatus{Source: s.Source, Sequence: s.Sequence, Interval: seconds(s.Interval), Cgroups: s.Cgroups, Truncated: s.Truncated, Missed: r.missed.Load(), Stale: r.isStale()},
		Missing:   r.missing(),
		Journal:   r.journal.Stats(),

		JournalFile: r.keeper.stats(),
	}
	for _, h := range r.hooks {
		out.Webhooks = append(out.Webhooks, h.Stats())
	}
	if r.executor.link == nil {
		out.Guard.Cause = "none is configured"
	}
	if sat := (*r.seats.Load())[s.Source]; sat != nil {
		out.Input.Judge = sat.owner
	}
	rules := r.cfg.rules()
	for _, rung := range rules.Ladder() {
		out.Ladder = append(out.Ladder, RungStatus{Level: rung.Level, Resource: rung.Resource, Action: rung.Action.String(), Observed: rung.Observed})
	}
	if s.Sequence == 0 {
		return out
	}
	out.Input.Age = seconds(now - s.Taken)
	if s.Episode != (episode.ID{}) {
		out.Episode = &EpisodeStatus{ID: episode.FormatID(s.Episode), OpenFor: seconds(now - s.Opened)}
	}
	for i := range s.Leases {
		out.Leases = append(out.Leases, r.lease(&s.Leases[i], now))
	}
	if s.Harm.Kind != policy.HarmNone {
		h := HarmStatus{Kind: s.Harm.Kind.String(), Unit: s.Harm.Kind.Unit(), Text: s.Harm.String(), Available: s.Harm.Available, Limit: s.Harm.Limit, Growth: s.Harm.Growth, Stall: s.Harm.Stall}
		if s.Harm.Exhaustion != policy.Never {
			h.Exhaustion = finite(s.Harm.Exhaustion.Seconds())
		}
		out.Harm = &h
	}
	j := &s.Judgement
	out.Judgement = &JudgementStatus{
		Sequence: j.Sequence, Ready: j.Ready, Anomalous: j.Anomalous, Frozen: j.Frozen,
		Score: finite(j.Score), Limit: finite(j.Limit), Distance: finite(j.Distance), Velocity: finite(j.Velocity),
		Acceleration: finite(j.Acceleration), Confidence: finite(j.Confidence), Contributions: []ContributionStatus{},
	}
	for _, c := range j.Contributions[:j.NumContributions] {
		out.Judgement.Contributions = append(out.Judgement.Contributions,
			ContributionStatus{Dimension: c.Dimension, Share: finite(c.Share), Value: finite(c.Value), Usual: finite(c.Usual)})
	}
	return out
}

func (r *reflex) lease(l *policy.Lease, now int64) LeaseStatus {
	action, _ := arc.ParseAction(l.Action)
	out := LeaseStatus{
		Cgroup: l.Cgroup, Path: l.Path, Action: l.Action, Level: l.Level, Amount: l.Amount, Phase: l.Phase, Verdict: l.Verdict,
		Ceiling: l.Ceiling, HeldFor: l.Held.Seconds(), ExpireIn: seconds(l.Deadline - now), Reason: l.Reason,
	}
	if answer, known := r.ledger.find(l.Cgroup, action); known {
		out.Original, out.Observed = &answer.Original, answer.Verdict == arc.VerdictObserved
	}
	return out
}

// missing lists what keeps the arc from its full function, the sources' reports
// included.
func (r *reflex) missing() []need {
	out := []need{}
	if r.insp == nil {
		out = append(out, need{"cgroup v2", fmt.Sprintf("no cgroup can be inspected: %v", r.blind), cgroupfs.UnifiedRemedy + ", or set cgroup_root to where cgroup v2 is mounted"})
	}
	unjudged := r.unjudgedNeeds()
	if len(unjudged) == 0 && len(*r.seats.Load()) == 0 {
		out = append(out, need{"engine", "no processor has registered an engine", "add the mahalanobis processor to the pipeline of the ebpf receiver"})
	}
	for _, source := range slices.Sorted(maps.Keys(unjudged)) {
		out = append(out, unjudged[source])
	}
	if r.observed.Load() == 0 && len(unjudged) == 0 {
		out = append(out, need{"input", "no sample has arrived", "add the ebpf receiver to a pipeline"})
	}
	out = append(out, r.reports.needs()...)
	if doubts := r.doubts.Load(); doubts != nil {
		out = append(out, *doubts...)
	}
	if r.executor.link == nil {
		return out
	}
	if reached := r.executor.reached.Load(); !reached.ok && r.cfg.Guard != guardEmbedded {
		remedy := "run reflexguard supervise and let its socket be " + r.cfg.Guard
		if reached.denied {
			remedy = fmt.Sprintf("start reflexguard with --uid=%d", os.Geteuid())
		}
		out = append(out, need{"reflexguard", reached.cause, remedy})
	}
	return append(out, r.executor.link.Missing()...)
}

func seconds(ns int64) float64 { return time.Duration(ns).Seconds() }

// finite is nil for what JSON cannot carry.
func finite(f float64) *float64 {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil
	}
	return &f
}
