// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexreceiver

import (
	"fmt"
	"math"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
	"github.com/otelcol-reflex/reflex/internal/episode"
)

// The attributes of events and spans. README.md explains each of them, and a
// test holds the two together.
const (
	attrRecordID      = "reflex.record.id"
	attrEpisodeID     = "reflex.episode.id"
	attrEpisodeOpen   = "reflex.episode.open"
	attrEpisodeCut    = "reflex.episode.truncated"
	attrLevel         = "reflex.level"
	attrLevelName     = "reflex.level.name"
	attrLevelPrevious = "reflex.level.previous"
	attrLevelHighest  = "reflex.level.highest"
	attrReason        = "reflex.reason"
	attrSource        = "reflex.source"
	attrSequence      = "reflex.sequence"

	attrCgroupID    = "reflex.cgroup.id"
	attrCgroupPath  = "reflex.cgroup.path"
	attrContainerID = "container.id"
	attrPodUID      = "k8s.pod.uid"

	attrDistance      = "reflex.score.distance"
	attrLimit         = "reflex.score.limit"
	attrVelocity      = "reflex.score.velocity"
	attrAcceleration  = "reflex.score.acceleration"
	attrContributions = "reflex.score.contributions"

	attrHarmKind       = "reflex.harm.kind"
	attrHarmUnit       = "reflex.harm.unit"
	attrHarmStall      = "reflex.harm.stall"
	attrHarmAvailable  = "reflex.harm.available"
	attrHarmLimit      = "reflex.harm.limit"
	attrHarmGrowth     = "reflex.harm.growth"
	attrHarmExhaustion = "reflex.harm.exhaustion"

	attrAction           = "reflex.action"
	attrActionDevice     = "reflex.action.device"
	attrActionInterface  = "reflex.action.interface"
	attrActionVerb       = "reflex.action.verb"
	attrActionObserve    = "reflex.action.observe"
	attrActionParameter  = "reflex.action.parameter"
	attrActionTTL        = "reflex.action.ttl"
	attrActionGeneration = "reflex.action.generation"
	attrVerdict          = "reflex.verdict"
	attrActionOriginal   = "reflex.action.original"
	attrActionValue      = "reflex.action.value"
	attrActionCause      = "reflex.action.cause"
	attrTickToKnob       = "reflex.tick_to_knob"
	attrOnsetToKnob      = "reflex.onset_to_knob"
)

// putRecord writes everything a record says. What it does not say is left out.
func putRecord(m pcommon.Map, r *episode.Record) {
	m.EnsureCapacity(40)
	id := episode.FormatID(r.Episode)
	m.PutStr(attrRecordID, r.Name())
	m.PutStr(attrEpisodeID, id)
	putLevel(m, r.Level)
	if r.Previous != r.Level {
		m.PutInt(attrLevelPrevious, int64(r.Previous))
	}
	putText(m, attrReason, r.Reason)
	putSample(m, r)
	putCgroup(m, &r.Cgroup)
	putScore(m, &r.Judgement)
	putHarm(m, &r.Harm)
	putAction(m, r)
}

func putLevel(m pcommon.Map, level int) {
	m.PutInt(attrLevel, int64(level))
	m.PutStr(attrLevelName, episode.LevelName(level))
}

func putSample(m pcommon.Map, r *episode.Record) {
	putText(m, attrSource, r.Source)
	if r.Sequence > 0 {
		m.PutInt(attrSequence, int64(r.Sequence)) //nolint:gosec // a tick count
	}
}

func putCgroup(m pcommon.Map, c *episode.Cgroup) {
	if *c == (episode.Cgroup{}) {
		return
	}
	m.PutInt(attrCgroupID, int64(c.ID)) //nolint:gosec // an inode number, the same 64 bits
	putText(m, attrCgroupPath, c.Path)
	container, pod := cgroupfs.Identity(c.Path)
	putText(m, attrContainerID, container)
	putText(m, attrPodUID, pod)
}

func putScore(m pcommon.Map, j *arc.Judgement) {
	if !j.Ready {
		return
	}
	putNumber(m, attrDistance, j.Distance)
	putNumber(m, attrLimit, j.Limit)
	putNumber(m, attrVelocity, j.Velocity)
	putNumber(m, attrAcceleration, j.Acceleration)
	n := min(max(j.NumContributions, 0), arc.MaxContributions)
	if n == 0 {
		return
	}
	list := m.PutEmptySlice(attrContributions)
	list.EnsureCapacity(n)
	for _, c := range j.Contributions[:n] {
		entry := list.AppendEmpty().SetEmptyMap()
		entry.PutStr("dimension", c.Dimension)
		putNumber(entry, "share", c.Share)
		putNumber(entry, "value", c.Value)
		putNumber(entry, "usual", c.Usual)
	}
}

func putHarm(m pcommon.Map, h *episode.Harm) {
	if *h == (episode.Harm{}) {
		return
	}
	putText(m, attrHarmKind, h.Kind)
	putText(m, attrHarmUnit, h.Unit)
	putBytes(m, attrHarmAvailable, h.Available)
	putBytes(m, attrHarmLimit, h.Limit)
	putNumber(m, attrHarmGrowth, h.Growth)
	if h.Exhaustion > 0 {
		m.PutDouble(attrHarmExhaustion, h.Exhaustion.Seconds())
	}
	if h.Stall > 0 {
		m.PutDouble(attrHarmStall, h.Stall)
	}
}

func putAction(m pcommon.Map, r *episode.Record) {
	if r.Kind != episode.Action {
		return
	}
	m.PutStr(attrAction, actionName(r))
	m.PutStr(attrVerdict, verdict(r).String())
	if o := r.Order; o != nil {
		m.PutStr(attrActionVerb, o.Verb.String())
		m.PutBool(attrActionObserve, o.Observe)
		if o.Device != 0 {
			m.PutStr(attrActionDevice, fmt.Sprintf("%d:%d", o.Device>>32, o.Device&0xffffffff))
		}
		if o.Interface != 0 {
			m.PutInt(attrActionInterface, int64(o.Interface))
		}
		if o.Verb == arc.Hold {
			putBytes(m, attrActionParameter, o.Parameter)
			m.PutDouble(attrActionTTL, float64(o.TTL)/1e9)
		}
		m.PutInt(attrActionGeneration, int64(o.Generation)) //nolint:gosec // a count
	}
	if o := r.Outcome; o != nil {
		if o.Original != 0 || o.Value != 0 {
			putBytes(m, attrActionOriginal, o.Original)
			putBytes(m, attrActionValue, o.Value)
		}
		putText(m, attrActionCause, o.Cause)
	}
	if d := r.TickToKnob(); d > 0 {
		m.PutDouble(attrTickToKnob, d.Seconds())
	}
	if r.Onset != 0 && r.Written != 0 && r.Written > r.Onset { // negative: of a boot before
		m.PutDouble(attrOnsetToKnob, float64(r.Written-r.Onset)/1e9)
	}
}

// actionName and verdict name an action even where half of it is missing.
func actionName(r *episode.Record) string {
	if r.Order == nil {
		return arc.ActionNone.String()
	}
	return r.Order.Action.String()
}

func verdict(r *episode.Record) arc.Verdict {
	if r.Outcome == nil {
		return arc.VerdictNone
	}
	return r.Outcome.Verdict
}

func putText(m pcommon.Map, key, value string) {
	if value != "" {
		m.PutStr(key, value)
	}
}

func putNumber(m pcommon.Map, key string, value float64) {
	if !math.IsNaN(value) && !math.IsInf(value, 0) {
		m.PutDouble(key, value)
	}
}

// putBytes leaves out what has no limit: an attribute has one type.
func putBytes(m pcommon.Map, key string, value uint64) {
	if value < arc.Unlimited {
		m.PutInt(key, int64(value)) //nolint:gosec // below 2^62
	}
}
