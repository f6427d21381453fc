// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// law is a way to move a ceiling: its pace in bytes a second.
type law func(l *lease, now int64, usage, available uint64) float64

// laws are those that were compared. The first is the one in use.
var laws = []struct {
	name string
	move law
}{
	{"aimed", func(l *lease, now int64, _, available uint64) float64 {
		return l.pace(now, available, DefaultConfig().GrowthBudget)
	}},
	{"no opening", func(l *lease, now int64, _, available uint64) float64 { return l.pace(now, available, 0) }},
	{"wall", func(*lease, int64, uint64, uint64) float64 { return 0 }},
	{"straight", func(l *lease, _ int64, _, _ uint64) float64 {
		return float64(l.headroom) / seconds(l)
	}},
	// In proportion to what is left between ceiling and limit, from 6.5 MB/s on.
	{"proportional", func(l *lease, _ int64, usage, available uint64) float64 {
		return l.fastest * min(float64(usage+available-l.parameter)/float64(l.headroom), 1)
	}},
	// The same of what is left above usage.
	{"exponential", func(l *lease, _ int64, _, available uint64) float64 {
		return l.fastest * min(float64(available)/float64(l.headroom), 1)
	}},
	// Aimed, in steps of a thirtieth of the headroom.
	{"stepwise", func(l *lease, now int64, _, available uint64) float64 {
		done := 1 - float64(l.until-now)/float64(l.until-l.granted)
		behind := done - (1 - float64(available)/float64(l.headroom))
		if behind > 1.0/30 {
			return float64(l.headroom) / 30 * 10 // within one step of 100 ms
		}
		return 0
	}},
}

func seconds(l *lease) float64 { return time.Duration(l.until - l.granted).Seconds() }

// serve plays a tenant under a law for as long as it is to buy; nil is no limit but
// its own.
func serve(n *tenant, move law, buy time.Duration) *tenant {
	n.advance(n.onset + 500*time.Millisecond)
	if move == nil {
		n.advance(buy)
		return n
	}
	l := &lease{parameter: roundUp(uint64(n.usage)), granted: int64(n.now)}
	l.headroom, l.share, l.until = uint64(n.limit-n.usage), 1, int64(n.now+buy)
	l.fastest = max(DefaultConfig().GrowthBudget, float64(l.headroom)/buy.Seconds())
	l.sent = l.parameter
	n.set(float64(l.parameter))
	const every = 100 * time.Millisecond
	for end := n.now + buy; n.now < end && !n.dead; {
		n.advance(every)
		usage, available := uint64(n.usage), uint64(max(n.limit-n.usage, 0))
		if usage+l.slack() >= l.parameter {
			l.raise(int64(every), move(l, int64(n.now), usage, available), usage, available)
		}
		if l.parameter-l.sent >= l.parameter>>leastMove {
			l.sent = l.parameter
			n.set(float64(l.parameter))
		}
	}
	return n
}

// shop is a tenant with so much in use and so much left.
func shop(perRequest bool, used, left float64, connections int) *tenant {
	n := newTenant(perRequest)
	n.usage, n.limit, n.connections = used, used+left, connections
	return n
}

// The law in use gives at least as many answers as any other, in the time to be
// bought, but for what its opening costs and chance.
func TestNoOtherLawGivesMoreAnswers(t *testing.T) {
	for _, buy := range []time.Duration{2 * time.Minute, 10 * time.Minute} {
		for _, size := range [][2]float64{{258 * mb, 816 * mb}, {1310 * mb, 838 * mb}} {
			for _, connections := range []int{2, 6} {
				name := fmt.Sprintf("%.0f of %.0f MB in use, %d threads, %s", size[0]/mb, (size[0]+size[1])/mb, connections, buy)
				t.Run(name, func(t *testing.T) {
					var used *tenant
					for _, l := range laws {
						n := serve(shop(false, size[0], size[1], connections), l.move, buy)
						t.Logf("%-12s %5d answers, longest gap %4.2f s, %5.1f s", l.name, n.answers, n.silence().Seconds(), (n.now - n.onset).Seconds())
						if used == nil {
							used = n
							assert.False(t, n.dead, "it lives for the time bought")
							continue
						}
						assert.GreaterOrEqual(t, float64(used.answers), 0.96*float64(n.answers), l.name)
					}
				})
			}
		}
	}
}

// With a leak in the request path the answers are those for which there is memory,
// whatever the law: a ceiling only spreads them.
func TestALeakPerRequestGivesTheSameAnswersUnderAnyLaw(t *testing.T) {
	alone := serve(shop(true, 258*mb, 816*mb, 6), nil, 2*time.Minute)
	assert.True(t, alone.dead)
	for _, l := range laws {
		n := serve(shop(true, 258*mb, 816*mb, 6), l.move, 2*time.Minute)
		t.Logf("%-12s %5d answers (%d alone), longest gap %.2f s", l.name, n.answers, alone.answers, n.silence().Seconds())
		assert.LessOrEqual(t, n.answers, alone.answers+6, l.name)
	}
}

// The measurements that the plant stands for: a service of two threads that is asked
// 100 times a second, with 50 MB in use and no limit of its own, leaks for 2 s, then
// 28 s under memory.high (kernel 6.12). What the plant does to a service under a wall
// whose leak has a thread of its own is twice too hard; no law is chosen by that.
func TestThePlantDoesWhatTheKernelDid(t *testing.T) {
	for name, tt := range map[string]struct {
		perRequest bool
		pace       float64
		leaked     float64 // measured, in MB
		answers    float64 // measured
		within     float64
	}{
		"a ceiling, leak in a thread":      {false, 6.5 * mb, 269, 2419, 0.10},
		"a slow ceiling, leak in a thread": {false, 1.1 * mb, 131, 926, 0.40},
		"a wall, leak in a thread":         {false, 0, 106, 1554, 0.65},
		"a ceiling, leak per request":      {true, 6.5 * mb, 265, 530, 0.15},
		"a slow ceiling, leak per request": {true, 1.1 * mb, 124, 248, 0.20},
		"a wall, leak per request":         {true, 0, 110, 220, 0.20},
	} {
		t.Run(name, func(t *testing.T) {
			n := newTenant(tt.perRequest)
			n.rate, n.connections, n.work, n.wait, n.onset = 100, 2, 3*time.Millisecond, 0, 0
			if tt.perRequest {
				n.keeps /= 4
			}
			n.usage, n.limit = 50*mb, 1e12
			n.advance(2 * time.Second)
			high := n.usage
			for n.set(high); n.now < 30*time.Second; {
				n.advance(100 * time.Millisecond)
				if high += tt.pace / 10; tt.pace > 0 {
					n.set(high)
				}
			}
			assert.InEpsilon(t, tt.leaked, (n.usage-50*mb)/mb, 0.16)
			assert.InEpsilon(t, tt.answers, n.answers, tt.within)
		})
	}
}
