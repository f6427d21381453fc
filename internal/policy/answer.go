// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strings"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// maxAnswers bounds the answers that wait for the next Step.
const maxAnswers = 64

type answer struct {
	order   arc.Order
	outcome arc.Outcome
}

// Answer feeds back what became of an order. It takes effect at the next Step;
// beyond a bounded number of waiting answers the oldest is dropped.
func (p *Policy) Answer(o arc.Order, out arc.Outcome) {
	if len(p.answers) == maxAnswers {
		copy(p.answers, p.answers[1:])
		p.answers = p.answers[:maxAnswers-1]
	}
	p.answers = append(p.answers, answer{o, out})
}

// settle applies the answers that wait.
func (p *Policy) settle(s *arc.Sample) {
	for i := range p.answers {
		a := &p.answers[i]
		for k := range p.leases {
			if l := &p.leases[k]; l.cgroup == a.order.Cgroup && l.generation == a.order.Generation {
				if !p.settleOne(l, a, s) {
					last := len(p.leases) - 1
					copy(p.leases[k:], p.leases[k+1:])
					p.leases[last] = lease{}
					p.leases = p.leases[:last]
				}
				break
			}
		}
		p.answers[i] = answer{}
	}
	p.answers = p.answers[:0]
}

// settleOne applies one answer and reports whether the lease lives on.
func (p *Policy) settleOne(l *lease, a *answer, s *arc.Sample) bool {
	now, out := s.Taken, &a.outcome
	previous := l.verdict
	l.verdict = out.Verdict
	m := p.history.of(l.cgroup, "", now)
	switch out.Verdict {
	case arc.VerdictGranted, arc.VerdictHeld, arc.VerdictObserved:
		if a.order.Verb == arc.Release {
			p.answered(l, a, "")
			p.rest(l, m, now)
			return false
		}
		if l.phase == releasing {
			return true // an older hold; the release is on its way
		}
		l.backoff, l.retryAt = 0, 0
		l.deadline = now + int64(p.cfg.TTL)
		if out.Deadline > 0 {
			l.deadline = out.Deadline
		}
		// An older order may have asked for more than is wanted by now.
		if out.Value < arc.Unlimited && out.Value > l.parameter && a.order.Parameter <= l.parameter {
			l.parameter = out.Value // the guard's floor
		}
		if l.phase == asked {
			if p.alone(l) && !l.again {
				m.contain(now, p.cfg.GraceLost)
			}
			l.again = false
			m.failures[l.action] = 0
		}
		if l.phase == asked || out.Verdict == arc.VerdictGranted || isObserved(previous) != isObserved(out.Verdict) {
			p.answered(l, a, "")
		}
		l.phase = held
		return true
	case arc.VerdictReleased:
		p.answered(l, a, "")
		p.rest(l, m, now)
		return false
	case arc.VerdictLost:
		m.lost++
		m.banned = p.episode
		p.answered(l, a, "")
		return false
	case arc.VerdictRefused:
		if strings.HasPrefix(out.Cause, arc.RefusedSpent) && a.order.Verb == arc.Hold && l.phase != releasing && !l.again {
			p.answered(l, a, out.Cause)
			p.again(l, s)
			return true
		}
		if strings.HasPrefix(out.Cause, arc.RefusedAction) || strings.HasPrefix(out.Cause, arc.RefusedKnob) {
			if !p.lacks(l.action, now) {
				p.answered(l, a, out.Cause)
			}
			p.missing[l.action] = now + missingFor
			return false
		}
		m.retreat(l.action, now, 10*time.Second, 5*time.Minute)
		if m.cause[l.action] != out.Cause || l.phase != asked {
			m.cause[l.action] = out.Cause
			p.answered(l, a, out.Cause)
		}
		m.failed(l.action)
		return false
	default: // failed, or no verdict at all
		l.backoff = min(max(2*l.backoff, int64(500*time.Millisecond)), int64(5*time.Second))
		l.retryAt = now + l.backoff
		if m.cause[l.action] != out.Cause {
			m.cause[l.action] = out.Cause
			p.answered(l, a, out.Cause)
		}
		if l.phase == asked {
			m.retreat(l.action, now, time.Second, time.Minute)
			m.failed(l.action)
			return false
		}
		return true
	}
}

// alone says that no other lease is on the same cgroup: what begins is a new
// containment and no next step of one.
func (p *Policy) alone(l *lease) bool {
	for i := range p.leases {
		if h := &p.leases[i]; h != l && h.cgroup == l.cgroup && h.link == l.link {
			return false
		}
	}
	return true
}

// isObserved tells a shadow lease from a real one; unanswered is neither, and
// its first answer is told apart by the phase.
func isObserved(v arc.Verdict) bool { return v == arc.VerdictObserved }

// rest keeps a released cgroup alone until the release can show. Who was held for
// nothing loses no grace.
func (p *Policy) rest(l *lease, m *memory, now int64) {
	m.restUntil, m.backoff[l.action] = max(m.restUntil, now+int64(p.cfg.Settle)), 0
	if !l.vain {
		m.graceless[l.resource] = now + int64(p.cfg.GraceLost)
	}
}

// answered records an answer.
func (p *Policy) answered(l *lease, a *answer, cause string) {
	reason := fmt.Sprintf("%s of %s: %s", l.action, l.path, a.outcome.Verdict)
	if to := amount(l.action, a.order.Parameter); to != "" {
		reason += ", " + to
	}
	reason += ": " + a.order.Reason
	if cause == "" {
		cause = a.outcome.Cause
	}
	if cause != "" {
		reason += " (" + cause + ")"
	}
	p.event(Event{
		Kind: Answered, Resource: l.resource, Action: l.action, Cgroup: l.cgroup, Path: l.path, Harm: l.harm,
		Order: a.order, Outcome: a.outcome, Reason: reason,
	})
}
