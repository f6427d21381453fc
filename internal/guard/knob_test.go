// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

func TestEveryKnobIsTurnedMovedAndGivenBackWithEveryOtherFile(t *testing.T) {
	require.Len(t, asked, len(newKnobs()), "every knob is asked for")
	for _, c := range asked {
		t.Run(c.action.String(), func(t *testing.T) {
			m := newMachine(t)
			id := m.cgroup(t, "a")
			before := m.files(t, "a")
			turned := func(text string) map[string]string {
				want := m.files(t, "a")
				for file, text := range before {
					want[file] = text
				}
				want[c.file] = text
				switch c.action {
				case arc.ActionCPUIdle:
					want["cpu.weight"] = "0"
				case arc.ActionFreeze:
					want["cgroup.events"] = "populated 1\nfrozen 1"
				}
				return want
			}
			for name, end := range map[string]func(g *Guard){
				"released": func(g *Guard) {
					assert.Equal(t, arc.VerdictReleased, act(t, g, releaseOrder(id, c.action)).Verdict)
				},
				"expired": func(g *Guard) { m.advance(15 * second); g.Patrol() },
				"killed":  func(g *Guard) { abandon(g); m.guard(t).Close() },
				"closed":  func(g *Guard) { require.NoError(t, g.Close()) },
			} {
				g := m.guard(t)
				o := order(id, c.action, c.first)
				o.Observe = true
				out := act(t, g, o)
				require.Equal(t, arc.VerdictObserved, out.Verdict, out.Cause)
				assert.Equal(t, c.first, out.Value)
				assert.Equal(t, before, m.files(t, "a"), "observing writes nothing")

				out = act(t, g, order(id, c.action, c.first))
				require.Equal(t, arc.VerdictGranted, out.Verdict, out.Cause)
				assert.Equal(t, c.first, out.Value)
				assert.Equal(t, turned(c.turned), m.files(t, "a"))
				assert.Equal(t, []string{c.action.String()}, m.records(id))
				m.advance(2 * second)
				out = act(t, g, order(id, c.action, c.next))
				require.Equal(t, arc.VerdictHeld, out.Verdict, out.Cause)
				assert.Equal(t, c.next, out.Value)
				assert.Equal(t, turned(c.moved), m.files(t, "a"))
				leases := g.Status().Leases
				require.Len(t, leases, 2)
				assert.Equal(t, c.action.String(), leases[0].Knob)
				assert.Equal(t, g.knobs[c.action].device(), leases[0].Device == diskName)
				end(g)
				assert.Equal(t, before, m.files(t, "a"), name)
				assert.Empty(t, m.records(id), name)
				g.Close()
			}
		})
	}
}

func TestTheFloorsAndCapsOfAGrant(t *testing.T) {
	for name, c := range map[string]struct {
		action  arc.Action
		files   map[string]string
		ask     uint64
		file    string
		want    string
		refused string
	}{
		"cpu.weight: 1":                        {action: arc.ActionCPUWeight, ask: 0, file: "cpu.weight", want: "1"},
		"cpu.weight: its original":             {action: arc.ActionCPUWeight, ask: 50, refused: "tightens nothing"},
		"cpu.weight: idle by its owner":        {action: arc.ActionCPUWeight, ask: 10, files: map[string]string{"cpu.idle": "1", "cpu.weight": "0"}, refused: "cpu.idle is 1"},
		"cpu.idle: set already":                {action: arc.ActionCPUIdle, ask: 1, files: map[string]string{"cpu.idle": "1", "cpu.weight": "0"}, refused: "tightens nothing"},
		"cpu.idle: 1 and nothing else":         {action: arc.ActionCPUIdle, ask: 2, refused: "nothing else"},
		"cpu.idle: an old kernel":              {action: arc.ActionCPUIdle, ask: 1, files: map[string]string{"cpu.idle": "-"}, refused: "older than 5.15"},
		"cpu.idle: no controller":              {action: arc.ActionCPUIdle, ask: 1, files: map[string]string{"cpu.idle": "-", "cpu.weight": "-"}, refused: "the cpu controller is not enabled"},
		"cpu.max: 5 % of a CPU":                {action: arc.ActionCPUMax, ask: 0, files: map[string]string{"cpu.max.burst": "0"}, file: "cpu.max", want: "5000 100000"},
		"cpu.max: in its owner's period":       {action: arc.ActionCPUMax, ask: 333_333, files: map[string]string{"cpu.max": "max 30000", "cpu.max.burst": "0"}, file: "cpu.max", want: "10200 30000"},
		"cpu.max: no quota below 1 ms":         {action: arc.ActionCPUMax, ask: 0, files: map[string]string{"cpu.max": "max 1000", "cpu.max.burst": "0"}, file: "cpu.max", want: "1000 1000"},
		"cpu.max: no quota below the burst":    {action: arc.ActionCPUMax, ask: 0, file: "cpu.max", want: "20000 100000"},
		"cpu.max: without a burst":             {action: arc.ActionCPUMax, ask: 0, files: map[string]string{"cpu.max.burst": "-"}, file: "cpu.max", want: "5000 100000"},
		"cpu.max: a tighter original":          {action: arc.ActionCPUMax, ask: 0, files: map[string]string{"cpu.max": "4000 100000", "cpu.max.burst": "0"}, refused: "tightens nothing"},
		"cpu.max: what cannot be read":         {action: arc.ActionCPUMax, ask: 0, files: map[string]string{"cpu.max": "max"}, refused: "not a quota and a period"},
		"cpu.max: a quota beyond all machines": {action: arc.ActionCPUMax, ask: 0, files: map[string]string{"cpu.max": "17592186044415 100000"}, refused: "larger than any machine"},
		"cpu.max: more than any quota":         {action: arc.ActionCPUMax, ask: arc.Unlimited - 1, files: map[string]string{"cpu.max": "max 1000000"}, file: "cpu.max", want: "1099511627776 1000000"},
		"io.weight: 1":                         {action: arc.ActionIOWeight, ask: 0, file: "io.weight", want: "default 1\n8:16 300"},
		"io.weight: no iocost":                 {action: arc.ActionIOWeight, ask: 0, files: map[string]string{"io.weight": "-"}, refused: "iocost"},
		"io.weight: no controller":             {action: arc.ActionIOWeight, ask: 0, files: map[string]string{"io.weight": "-", "io.stat": "-"}, refused: "the io controller is not enabled"},
		"io.max: 1 MiB a second":               {action: arc.ActionIOMaxWrite, ask: 0, files: map[string]string{"io.max": "8:16 rbps=max wbps=max riops=max wiops=120"}, file: "io.max", want: "8:16 rbps=max wbps=1048576 riops=max wiops=120"},
		"io.max: a tighter original":           {action: arc.ActionIOMaxRead, ask: 0, files: map[string]string{"io.max": "8:16 rbps=4096 wbps=max riops=max wiops=max"}, refused: "tightens nothing"},
		"io.max: no controller":                {action: arc.ActionIOMaxRead, ask: 0, files: map[string]string{"io.max": "-", "io.stat": "-"}, refused: "the io controller is not enabled"},
		"pids.max: a margin of 16":             {action: arc.ActionPidsMax, ask: 0, file: "pids.max", want: "56"},
		"pids.max: a margin of a tenth":        {action: arc.ActionPidsMax, ask: 0, files: map[string]string{"pids.current": "1000"}, file: "pids.max", want: "1100"},
		"pids.max: what the kernel takes":      {action: arc.ActionPidsMax, ask: arc.Unlimited - 1, file: "pids.max", want: "4194304"},
		"pids.max: no controller":              {action: arc.ActionPidsMax, files: map[string]string{"pids.max": "-"}, refused: "the pids controller is not enabled"},
		"cgroup.freeze: frozen by its owner":   {action: arc.ActionFreeze, ask: 1, files: map[string]string{"cgroup.freeze": "1"}, refused: "tightens nothing"},
		"cgroup.freeze: asked for nothing":     {action: arc.ActionFreeze, ask: 0, refused: "nothing else"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			id := m.cgroup(t, "a")
			for file, text := range c.files {
				if text == "-" {
					require.NoError(t, os.Remove(filepath.Join(m.dir, "a", file)))
					continue
				}
				m.set(t, "a", file, text)
			}
			before := m.files(t, "a")
			g := m.guard(t)
			out := act(t, g, order(id, c.action, c.ask))
			if c.file == "" {
				assert.NotEqual(t, arc.VerdictGranted, out.Verdict)
				assert.Contains(t, out.Cause, c.refused)
			} else {
				require.Equal(t, arc.VerdictGranted, out.Verdict, out.Cause)
				assert.Equal(t, c.want, m.get(t, "a", c.file))
				assert.Equal(t, arc.VerdictReleased, act(t, g, releaseOrder(id, c.action)).Verdict)
			}
			assert.Equal(t, before, m.files(t, "a"))
			assert.Empty(t, m.records(id))
		})
	}
}

// Every quota has a rate of its own: what was read is what is written back.
func TestARateIsItsQuota(t *testing.T) {
	for _, period := range []uint64{1000, 1001, 20_000, 33_333, 100_000, 999_999, 1_000_000} {
		for _, quota := range []uint64{1000, 1001, 4999, 7777, 100_000, 123_457, 12_800_000, 1 << 39} {
			assert.Equal(t, quota, quotaFor(bandwidthOf(quota, period), period), "%d %d", quota, period)
		}
	}
	assert.Equal(t, arc.Unlimited, bandwidthOf(arc.Unlimited, 100_000))
}

func TestWhichWayAKnobMovesWithinItsLease(t *testing.T) {
	m := newMachine(t)
	m.change = func(c *Config) { c.MaxLeases = 100 }
	id := m.cgroup(t, "a")
	m.set(t, "a", "cpu.max.burst", "0")
	g := m.guard(t)
	for _, c := range []struct {
		action arc.Action
		first  uint64
		file   string
		steps  []uint64 // asked for
		want   []string
	}{
		{arc.ActionCPUMax, 1_000_000, "cpu.max", []uint64{500_000, 0, 900_000, 9_000_000, 800_000}, []string{"50000 100000", "5000 100000", "90000 100000", "300000 100000", "80000 100000"}},
		{arc.ActionCPUMax, 1_000_000, "cpu.max", []uint64{arc.Unlimited}, []string{"300000 100000"}},
		{arc.ActionCPUWeight, 10, "cpu.weight", []uint64{5, 0, 20, 100_000}, []string{"5", "1", "20", "50"}},
		{arc.ActionIOWeight, 10, "io.weight", []uint64{5, 0, 20, 1000}, []string{"default 5\n8:16 300", "default 1\n8:16 300", "default 20\n8:16 300", "default 100\n8:16 300"}},
		{arc.ActionPidsMax, 100, "pids.max", []uint64{90, 0, 120, 110, 1 << 30, arc.Unlimited}, []string{"100", "100", "120", "120", "4194304", "max"}},
	} {
		decided := uint64(m.now())
		require.Equal(t, arc.VerdictGranted, act(t, g, later(order(id, c.action, c.first), decided)).Verdict)
		for i, ask := range c.steps {
			m.advance(second)
			out := act(t, g, later(order(id, c.action, ask), decided))
			require.Equal(t, arc.VerdictHeld, out.Verdict, out.Cause)
			assert.Equal(t, c.want[i], m.get(t, "a", c.file), "%s: step %d", c.action, i)
			r, err := decodeRecord(g.knobs[c.action], []byte(m.attribute(id, recordName(c.action))))
			require.NoError(t, err)
			assert.True(t, r.ours(out.Value), "%s: step %d: the record knows it", c.action, i)
		}
		o := later(releaseOrder(id, c.action), decided)
		require.Equal(t, arc.VerdictReleased, act(t, g, o).Verdict)
		m.advance(15 * second)
	}
}

func TestAKnobIsTightenedAtMostOnceASecond(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "a")
	g := m.guard(t)
	act(t, g, order(id, arc.ActionCPUMax, 1_000_000))
	m.advance(second - 1)
	out := act(t, g, order(id, arc.ActionCPUMax, 500_000))
	assert.Contains(t, out.Cause, "1s")
	assert.Equal(t, "100000 100000", m.get(t, "a", "cpu.max"))
	act(t, g, order(id, arc.ActionCPUMax, 1_100_000))
	assert.Equal(t, "110000 100000", m.get(t, "a", "cpu.max"), "loosening need not wait")
	m.advance(second)
	act(t, g, order(id, arc.ActionCPUMax, 500_000))
	assert.Equal(t, "50000 100000", m.get(t, "a", "cpu.max"))
}

func TestADeviceIsNamedExistsAndStays(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "a")
	before := m.files(t, "a")
	g := m.guard(t)
	o := order(id, arc.ActionIOMaxWrite, 3*mib)
	for _, tc := range []struct {
		device uint64
		cause  string
	}{
		{0, "names no device"},
		{8<<32 | 17, "there is no device 8:17"},
	} {
		o.Device = tc.device
		out := act(t, g, o)
		assert.Equal(t, arc.VerdictRefused, out.Verdict)
		assert.Contains(t, out.Cause, tc.cause)
		assert.Equal(t, before, m.files(t, "a"))
		assert.Empty(t, m.records(id))
		o.Generation++ // what the kernel refused is over as well
	}
	o.Device = disk
	require.Equal(t, arc.VerdictGranted, act(t, g, o).Verdict)
	assert.Contains(t, m.attribute(id, recordName(o.Action)), `"device":"8:16"`)
	o.Device = 8 << 32
	out := act(t, g, o)
	assert.Equal(t, arc.VerdictRefused, out.Verdict)
	assert.Contains(t, out.Cause, "the lease about 8:16")
	// Both directions at once, ended in the order they began.
	require.Equal(t, arc.VerdictGranted, act(t, g, order(id, arc.ActionIOMaxRead, 3*mib)).Verdict)
	require.Equal(t, arc.VerdictReleased, act(t, g, later(releaseOrder(id, arc.ActionIOMaxWrite), 2)).Verdict)
	assert.Contains(t, m.get(t, "a", "io.max"), "8:16 rbps=3145728 wbps=max riops=max wiops=120")
	require.Equal(t, arc.VerdictReleased, act(t, g, releaseOrder(id, arc.ActionIOMaxRead)).Verdict)
	assert.Equal(t, before, m.files(t, "a"))
}

func TestAThreadedCgroupIsRefusedForWhatItLacks(t *testing.T) {
	for kind, causes := range map[string]map[arc.Action]string{
		"threaded": {
			arc.ActionMemoryHigh: "no memory.high of its own", arc.ActionIOMaxRead: "no io.max of its own",
			arc.ActionCPUMax: "only its domain holds whole", arc.ActionPidsMax: "only its domain", arc.ActionFreeze: "only its domain",
		},
		"domain invalid": {arc.ActionCPUMax: "no cpu.max of its own"},
	} {
		m := newMachine(t)
		id := m.cgroup(t, "a")
		m.set(t, "a", "cgroup.type", kind)
		g := m.guard(t)
		for action, cause := range causes {
			out := act(t, g, order(id, action, 1))
			assert.Equal(t, arc.VerdictRefused, out.Verdict, kind)
			assert.Contains(t, out.Cause, cause)
		}
	}
}

func TestAControllerThatIsTakenAwayEndsTheLease(t *testing.T) {
	for name, end := range map[string]func(*machine, *Guard){
		"at its deadline":   func(m *machine, g *Guard) { m.advance(15 * second); g.Patrol() },
		"by the next guard": func(m *machine, g *Guard) { abandon(g); m.guard(t).Close() },
	} {
		m := newMachine(t)
		id := m.cgroup(t, "a")
		g := m.guard(t)
		require.Equal(t, arc.VerdictGranted, act(t, g, order(id, arc.ActionPidsMax, 100)).Verdict)
		require.NoError(t, os.Remove(filepath.Join(m.dir, "a", "pids.max")))
		end(m, g)
		assert.Empty(t, m.records(id), name)
		assert.Empty(t, g.Status().Leases, name)
	}
}

func TestARecordOfAnotherKnobIsDamaged(t *testing.T) {
	const limits = `{"version":1,"original":"max","low":"5","high":"9","generation":1,"boot_id":"b"}`
	const toggled = `{"version":1,"original":"0","low":"1","high":"1","generation":1,"boot_id":"b"}`
	const onDisk = `{"version":1,"device":"8:16","original":"max","low":"5","high":"9","generation":1,"boot_id":"b"}`
	const coupled = `{"version":1,"original":"max","low":"5","high":"9","coupled":{"memory.max":"1"},"generation":1,"boot_id":"b"}`
	for _, c := range []struct {
		action arc.Action
		text   string
		good   bool
	}{
		{arc.ActionPidsMax, limits, true},
		{arc.ActionPidsMax, toggled, false},
		{arc.ActionFreeze, toggled, true},
		{arc.ActionFreeze, limits, false},
		{arc.ActionIOMaxRead, onDisk, true},
		{arc.ActionIOMaxRead, limits, false},
		{arc.ActionPidsMax, onDisk, false},
		{arc.ActionCPUMax, coupled, false},
	} {
		_, err := decodeRecord(newKnobs()[c.action], []byte(c.text))
		assert.Equal(t, c.good, err == nil, "%s %s: %v", c.action, c.text, err)
	}
	var d device
	for _, text := range []string{"", "8", "8:", "8:16:1", " 8:16", "8:016", "-1:2", "4294967296:0"} {
		require.Error(t, d.UnmarshalText([]byte(text)), text)
	}
}
