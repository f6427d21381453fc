// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"strconv"
	"time"

	"github.com/otelcol-reflex/reflex/test/demo/recording"
	"github.com/otelcol-reflex/reflex/test/demo/telemetry"
)

const (
	paymentCgroup = "payment.service"
	// window is the length of a latency window.
	window = 10 * time.Second
	// answering is how long before the end the payment service must still answer.
	answering = 5 * time.Second
	// busy is how late a timer may be, in ms, before the machine is at fault: on a
	// quiet host of two cores the emulated machine's are 3 to 6 ms late.
	busy = 10.0
)

// Analyse makes the report of in.
func Analyse(in *Input) *Report {
	without, with := in.Arms[recording.Without], in.Arms[recording.With]
	story := in.Story
	if story == nil {
		story = &telemetry.Story{}
	}
	r := &Report{
		Environment: in.Environment, Kernel: in.Environment.Kernel, Seed: with.Seed,
		OOMKillWithout: killed(without), OOMKillWith: killed(with),
		TransactionsWith:    transactions(with, in.Answers[recording.With]),
		TransactionsWithout: transactions(without, in.Answers[recording.Without]),
		NeighbourTouched:    with.NeighbourCeilingChanged,
		CeilingAfter:        ceilingText(with.CeilingAfter),
		Costs:               with.Costs,
		Levels:              levels(with, story), OTLPTotal: story.Total,
	}
	for _, a := range []*recording.Arm{without, with} {
		for _, t := range a.Trouble {
			r.Trouble = append(r.Trouble, a.Name+": "+t)
		}
		if late := max(a.LatenessCalm, a.LatenessLeak); late > busy {
			r.Trouble = append(r.Trouble, fmt.Sprintf("%s: the machine was busy with something else: a 5 ms timer was up to %.0f ms late (p99); latencies are the machine's as much as the service's", a.Name, late))
		}
	}
	r.PaymentAliveWith = with.PaymentKilled == 0 &&
		answered(in.Answers[recording.With], recording.Payment, with.End-int64(answering), with.End) > 0
	r.detection(with)
	r.episode(with, story)
	r.neighbour(in)
	r.Headline = headline(r, with)
	r.Acceptance = Acceptance(r)
	r.Passed = passed(r.Acceptance)
	return r
}

// killed is when the kernel killed the payment service, in seconds from the
// onset, nil if it did not.
func killed(a *recording.Arm) *float64 {
	if a.PaymentKilled == 0 || a.OOMKills == 0 {
		return nil
	}
	t := a.Seconds(a.PaymentKilled)
	return &t
}

// transactions counts what the payment service answered between the onset and
// the end of the arm.
func transactions(a *recording.Arm, answers []recording.Answer) int {
	return answered(answers, recording.Payment, a.Onset, a.End)
}

// answered counts the good answers of service that came in [from, to).
func answered(answers []recording.Answer, service string, from, to int64) (n int) {
	for _, a := range answers {
		if a.OK && a.Service == service && a.Done() >= from && a.Done() < to {
			n++
		}
	}
	return n
}

func levels(a *recording.Arm, story *telemetry.Story) []Level {
	changes := make([]Level, 0, len(story.Levels))
	for _, l := range story.Levels {
		changes = append(changes, Level{a.WallSeconds(l.Time), l.Level, l.Name, l.Previous, l.Reason})
	}
	return changes
}

// detection finds the first alarm and the first ceiling after the onset.
func (r *Report) detection(a *recording.Arm) {
	for _, l := range r.Levels {
		if l.Time >= 0 && l.Level >= 1 && l.Level > l.Previous {
			r.Detected = &l.Time
			break
		}
	}
	for _, c := range a.Ceilings {
		if c.Time >= a.Onset && c.Time < a.End && c.Value != recording.Unlimited {
			t := a.Seconds(c.Time)
			r.Contained = &t
			break
		}
	}
}

// episode finds the episode that contained the leak, by the log event of the
// order that was granted.
func (r *Report) episode(a *recording.Arm, story *telemetry.Story) {
	action, ok := story.Contained(paymentCgroup, a.OnsetWall)
	if !ok {
		return
	}
	t := a.WallSeconds(action.Time)
	r.ContainedRecorded = &t
	if action.TickToKnob > 0 {
		r.TickToKnob = &action.TickToKnob
	}
	r.Episode = action.Episode
	r.OTLP = story.Episodes[action.Episode]
}

// neighbour sums up the neighbour's latency: medians over windows, and as the
// baseline the calm windows of both arms.
func (r *Report) neighbour(in *Input) {
	w := &r.NeighbourWindows
	for _, part := range []struct {
		arm        string
		calm, leak *[]float64
	}{
		{recording.Without, &w.CalmWithout, &w.LeakWithout},
		{recording.With, &w.CalmWith, &w.LeakWith},
	} {
		a, answers := in.Arms[part.arm], in.Answers[part.arm]
		*part.calm = windows(answers, recording.Neighbour, a.Calm, a.Onset, window)
		*part.leak = windows(answers, recording.Neighbour, a.Onset, a.End, window)
	}
	r.NeighbourP99Baseline = median(append(append([]float64{}, w.CalmWithout...), w.CalmWith...))
	r.NeighbourP99Without = median(w.LeakWithout)
	r.NeighbourP99With = median(w.LeakWith)
}

func ceilingText(v uint64) string {
	switch v {
	case 0:
		return "unknown"
	case recording.Unlimited:
		return "max"
	}
	return strconv.FormatUint(v, 10)
}
