// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package ceiling

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/test/demo/recording"
)

const second = int64(time.Second)

// served makes the answers of a service that answers at a rate for so many seconds
// from the instant at on.
func served(name string, at int64, rate, seconds float64) (answers []recording.Answer) {
	for i := range int(rate * seconds) {
		due := at + int64(float64(i)/rate*1e9)
		answers = append(answers, recording.Answer{Service: name, Intended: due, Latency: 60e6, OK: true})
	}
	return answers
}

// fare is how a service fares: answers a second for so many seconds; it dies then
// if dies.
type fare struct {
	rate, seconds float64
	dies          bool
	announced     float64
}

// play makes an arm as if it had been played, each service with an onset of its own
// and a calm of 12 answers a second before it.
func play(name string, fares map[string]fare) Played {
	i := 0
	for Arms[i].Name != name {
		i++
	}
	p := Played{Arm: Arms[i], Recording: Recording{Arm: name, Busy: 1, CPUs: 2}}
	onset := 100 * second
	for _, hold := range p.Arm.Holds {
		for _, leak := range p.Arm.Leaks {
			s := Service{Name: ServiceName(hold, leak), Hold: hold, Leak: leak, Onset: onset, Resident: 256 << 20}
			f, ok := fares[s.Name]
			if !ok {
				continue
			}
			s.Samples = []Sample{{onset, 256 << 20, Unlimited}, {onset + second, 300 << 20, 280 << 20}}
			if hold != Nothing {
				s.Held, s.High = onset+second/2, 280<<20
			}
			if f.dies {
				s.Died = onset + int64(f.seconds*1e9)
			}
			if f.announced > 0 {
				s.Announced = []Announcement{{onset + int64(f.announced*1e9), "announced; ending: release"}}
			}
			p.Recording.Services = append(p.Recording.Services, s)
			p.Answers = append(p.Answers, served(s.Name, onset-60*second, 12, 59.9)...)
			p.Answers = append(p.Answers, served(s.Name, onset, f.rate, f.seconds)...)
			onset += 15 * second
		}
	}
	return p
}

func good() []Played {
	return []Played{
		play("alone", map[string]fare{"nothing-thread": {12, 16, true, 0}, "nothing-request": {12, 16, true, 0}}),
		play("2m", map[string]fare{
			"ceiling-thread": {11.5, 121, false, 0}, "ceiling-request": {1.5, 121, false, 0},
			"wall-thread": {3, 121, false, 0}, "wall-request": {0.2, 121, false, 0},
		}),
		play("10m", map[string]fare{
			"ceiling-thread": {11.5, 601, false, 0}, "ceiling-request": {10, 19.2, true, 12},
			"wall-thread": {3, 601, false, 0}, "wall-request": {0.1, 601, false, 0},
		}),
		play("handover", map[string]fare{"ceiling-request": {10, 19.2, true, 12}}),
	}
}

func TestAnswersAreThoseBetweenOnsetAndEnd(t *testing.T) {
	r := Analyse(DefaultLoad(), good())
	o := r.Outcome("alone", Nothing, Thread)
	require.NotNil(t, o)
	assert.Equal(t, 192, o.Answers)
	assert.True(t, o.Died)
	assert.InDelta(t, 16, o.Survival, 1e-9)
	assert.InDelta(t, 12, o.CalmRate, 0.1)
	assert.InDelta(t, 12, o.Rate, 0.1)
	assert.EqualValues(t, 44<<20, o.Leaked)

	o = r.Outcome("2m", Wall, Request)
	assert.InDelta(t, 5, o.Gap, 0.1)
	assert.InDelta(t, 120, o.Survival, 1e-9)
	assert.False(t, o.Died)
	assert.InDelta(t, 0.5, *o.Held, 1e-9)

	o = r.Outcome("10m", Ceiling, Request)
	assert.InDelta(t, 12, *o.Ended, 1e-9)
	assert.Equal(t, o.Answers, o.InTime)
}

func TestSilenceAtTheEndIsAGap(t *testing.T) {
	p := good()[1]
	p.Answers = served("ceiling-thread", p.Recording.Services[0].Onset, 12, 40)
	o := outcome(&p, &p.Recording.Services[0])
	assert.InDelta(t, 80, o.Gap, 0.1)
	p.Answers = append(p.Answers, recording.Answer{Service: "ceiling-thread", Intended: p.Recording.Services[0].Onset + 90*second, OK: false})
	assert.InDelta(t, 80, outcome(&p, &p.Recording.Services[0]).Gap, 0.1, "a failure is no answer")
}

func TestEachDemandCanFail(t *testing.T) {
	require.True(t, Analyse(DefaultLoad(), good()).Passed)
	for name, tt := range map[string]struct {
		arm, service string
		fare         fare
		check        string
	}{
		"too few answers":             {"2m", "ceiling-thread", fare{10, 121, false, 0}, "answers a second, leak in a thread, 2 min"},
		"no better than the wall":     {"2m", "ceiling-request", fare{0.3, 121, false, 0}, "answers, leak per request, 2 min"},
		"as long a gap as the wall's": {"2m", "ceiling-thread", fare{11.5, 115, false, 0}, "longest gap, leak per thread, 2 min"},
		"dies early":                  {"10m", "ceiling-thread", fare{12, 300, true, 0}, "survival, leak in a thread, 10m"},
		"is not handed over":          {"10m", "ceiling-request", fare{10, 19.2, true, 0}, "handed over early, leak per request, 10m"},
		"is handed over late":         {"handover", "ceiling-request", fare{6, 50, true, 45}, "handed over early, leak per request, handover"},
		"is handed over for nothing":  {"handover", "ceiling-request", fare{5, 19, true, 12}, "handed over early, leak per request, handover"},
	} {
		t.Run(name, func(t *testing.T) {
			played := good()
			for i := range played {
				if played[i].Arm.Name != tt.arm {
					continue
				}
				fares := map[string]fare{
					"ceiling-thread": {11.5, 601, false, 0}, "ceiling-request": {10, 19.2, true, 12},
					"wall-thread": {3, 601, false, 0}, "wall-request": {0.2, 601, false, 0},
				}
				if tt.arm == "2m" {
					fares["ceiling-request"] = fare{1.5, 601, false, 0}
				}
				fares[tt.service] = tt.fare
				played[i] = play(tt.arm, fares)
			}
			r := Analyse(DefaultLoad(), played)
			assert.False(t, r.Passed)
			var failed []string
			for _, c := range r.Checks {
				if !c.OK {
					failed = append(failed, c.Name)
				}
			}
			assert.Contains(t, failed, tt.check)
			assert.LessOrEqual(t, len(failed), 2)
		})
	}
}

func TestWhatWasNotPlayedIsNotPassed(t *testing.T) {
	r := Analyse(DefaultLoad(), good()[:2])
	assert.False(t, r.Passed)
	assert.Contains(t, r.Markdown(), "not played")
}

func TestTheReportIsWritten(t *testing.T) {
	dir := t.TempDir()
	played := good()
	r := Analyse(DefaultLoad(), played)
	require.NoError(t, r.Write(dir, played))
	var again Report
	require.NoError(t, recording.ReadJSON(dir, File, &again))
	assert.Equal(t, *r, again)
	page, err := os.ReadFile(filepath.Join(dir, PageFile))
	require.NoError(t, err)
	assert.Equal(t, 14, strings.Count(string(page), "<svg"))
	assert.Contains(t, string(page), "its ending is announced")
	text, err := os.ReadFile(filepath.Join(dir, TextFile))
	require.NoError(t, err)
	assert.Contains(t, string(text), "| request | ceiling | handover | 19.2 s |")
}

func TestArmsAreChosenByName(t *testing.T) {
	arms, err := Select(nil)
	require.NoError(t, err)
	assert.Len(t, arms, 4)
	arms, err = Select([]string{"10m"})
	require.NoError(t, err)
	assert.Equal(t, "10m", arms[0].Name)
	_, err = Select([]string{"5m"})
	assert.ErrorContains(t, err, `"5m"`)
}
