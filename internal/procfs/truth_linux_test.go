// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// tap is an interface whose other end is the test.
type tap struct {
	file  int // what is written is received, what is sent can be read
	wire  int // a packet socket, to send
	index int
}

// newTap makes an interface in the thread's network namespace.
func newTap(name string) (*tap, error) {
	file, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	t := &tap{file: file, wire: -1}
	if err := t.open(name); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

func (t *tap) open(name string) error {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(t.file, unix.TUNSETIFF, request); err != nil {
		return fmt.Errorf("make %s: %w", name, err)
	}
	if t.wire, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0); err != nil {
		return err
	}
	if err := unix.IoctlIfreq(t.wire, unix.SIOCGIFINDEX, request); err != nil {
		return err
	}
	t.index = int(request.Uint32())
	request.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(t.wire, unix.SIOCSIFFLAGS, request)
}

// frame is an Ethernet frame of a protocol that nobody speaks.
func frame(size int) []byte {
	f := make([]byte, size)
	for i := range 6 {
		f[i] = 0xff
	}
	f[12], f[13] = 0x88, 0xb5 // local experimental (IEEE 802)
	return f
}

func (t *tap) receive(frames, size int) error {
	for range frames {
		if _, err := unix.Write(t.file, frame(size)); err != nil {
			return fmt.Errorf("receive: %w", err)
		}
	}
	return nil
}

func (t *tap) send(frames, size int) error {
	for range frames {
		err := unix.Sendto(t.wire, frame(size), 0, &unix.SockaddrLinklayer{Ifindex: t.index, Halen: 6})
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			return fmt.Errorf("send: %w", err)
		}
	}
	return nil
}

// drain reads everything that was sent and returns how many frames that were.
func (t *tap) drain() (frames int, err error) {
	var buf [2048]byte
	for {
		if _, err := unix.Read(t.file, buf[:]); err != nil {
			if errors.Is(err, unix.EAGAIN) {
				return frames, nil
			}
			return frames, err
		}
		frames++
	}
}

func (t *tap) close() error {
	err := unix.Close(t.file)
	if t.wire >= 0 {
		err = errors.Join(err, unix.Close(t.wire))
	}
	return err
}

// inOwnNetwork calls do in a network namespace that ends with it.
func inOwnNetwork(t *testing.T, do func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the namespace ends with the thread
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			// Or the interface announces itself, which is not expected here.
			_ = os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0o600)
			err = do()
		}
		done <- err
	}()
	err := <-done
	if errors.Is(err, unix.EPERM) || errors.Is(err, os.ErrNotExist) {
		t.Skip(err)
	}
	require.NoError(t, err)
}

// Every frame and byte is known: nothing is allowed for.
func TestTrafficIsCountedToTheByte(t *testing.T) {
	const received, receivedSize, sent, sentSize, flood = 120, 500, 70, 300, 1500
	before, after := absent(), absent()
	var drained, late int
	inOwnNetwork(t, func() error {
		tap, err := newTap("truth0")
		if err != nil {
			return err
		}
		defer tap.close()
		r := Open("/proc/thread-self", "/sys", networkFields())
		defer r.Close()
		if err := errors.Join(r.Read(&before), tap.receive(received, receivedSize), tap.send(sent, sentSize)); err != nil {
			return err
		}
		if drained, err = tap.drain(); err != nil {
			return err
		}
		// More than the queue holds while nobody reads: the rest is dropped.
		if err := tap.send(flood, sentSize); err != nil {
			return err
		}
		if late, err = tap.drain(); err != nil {
			return err
		}
		return r.Read(&after)
	})
	assert.Equal(t, sent, drained)
	assert.Less(t, late, flood, "the queue is full")
	t.Logf("of %d frames sent at once %d passed", flood, late)
	for f, want := range map[arc.NodeField]float64{
		arc.NodePacketsReceived: received,
		arc.NodeBytesReceived:   received * receivedSize,
		arc.NodeDropsReceived:   received, // nobody speaks their protocol
		arc.NodePacketsSent:     float64(drained + late),
		arc.NodeBytesSent:       float64(drained+late) * sentSize,
		arc.NodeDropsSent:       float64(flood - late),
		arc.NodeErrorsReceived:  0,
		arc.NodeErrorsSent:      0,
	} {
		assert.InDelta(t, want, after[f]-before[f], 0, arc.NodeFields[f].Name)
	}
}

func networkFields() (wanted [arc.NumNodeFields]bool) {
	for _, s := range sources {
		if s.path == "net/dev" {
			for _, f := range s.fields {
				wanted[f] = true
			}
		}
	}
	return wanted
}

// The kernel shows the same free lists in /proc/pagetypeinfo, split by what the
// pages may be used for. Between the two readings memory comes and goes: 0.02.
func TestFragmentationAgreesWithPagetypeinfo(t *testing.T) {
	if _, err := os.ReadFile("/proc/pagetypeinfo"); err != nil {
		t.Skip(err)
	}
	require.Eventually(t, func() bool {
		var wanted [arc.NumNodeFields]bool
		wanted[arc.NodeMemoryFragmentation] = true
		r := Open("/proc", "/sys", wanted)
		defer r.Close()
		n := absent()
		require.NoError(t, r.Read(&n))
		want, got := bitsOfPagetypeinfo(t), n[arc.NodeMemoryFragmentation]
		t.Logf("fragmentation: %.4f, by /proc/pagetypeinfo %.4f", got, want)
		return math.Abs(want-got) < 0.02
	}, 10*time.Second, 50*time.Millisecond)
}

// bitsOfPagetypeinfo computes the entropy from its definition, in bits.
func bitsOfPagetypeinfo(t *testing.T) float64 {
	t.Helper()
	text, err := os.ReadFile("/proc/pagetypeinfo")
	require.NoError(t, err)
	var pages []float64
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 8 || f[0] != "Node" || f[4] != "type" {
			continue
		}
		counts := f[6:]
		pages = append(pages, make([]float64, max(0, len(counts)-len(pages)))...)
		for order, digits := range counts {
			blocks, err := strconv.ParseFloat(strings.TrimPrefix(digits, ">"), 64)
			require.NoError(t, err)
			pages[order] += math.Ldexp(blocks, order)
		}
	}
	require.NotEmpty(t, pages)
	var total, bits float64
	for _, p := range pages {
		total += p
	}
	for _, p := range pages {
		if p > 0 {
			bits -= p / total * math.Log2(p/total)
		}
	}
	return bits / math.Log2(float64(len(pages)))
}

// The kernel answers the same by a system call. What is free changes meanwhile;
// what there is does not.
func TestMemoryAgreesWithSysinfo(t *testing.T) {
	r := Open("/proc", "/sys", everything())
	defer r.Close()
	n := absent()
	require.NoError(t, r.Read(&n))
	var info unix.Sysinfo_t
	require.NoError(t, unix.Sysinfo(&info))
	unit := float64(info.Unit)
	assert.InDelta(t, float64(info.Totalram)*unit, n[arc.NodeMemoryTotal], 1024)
	assert.Less(t, n[arc.NodeMemoryUsed], float64(info.Totalram-info.Freeram)*unit+64<<20)
	assert.Greater(t, n[arc.NodeMemoryAvailable], 0.0)
}
