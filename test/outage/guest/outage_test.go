// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/test/e2e/guest"
	"github.com/otelcol-reflex/reflex/test/outage"
)

// played is one outage: what begins before the leak, and goes on until after it was
// contained. Each step may be nil.
type played struct {
	name   string
	listen func(*testing.T) net.Listener // nil: on the loopback
	aim    func(*Setting)                // before the collector starts
	begin  func(*Setting)                // before the leak
	during func(*Setting)                // when it is contained
	end    func(*Setting)                // then the backend is back
	after  func(*Setting)                // when all has arrived
}

var outages = []played{
	{name: outage.Undisturbed},
	{
		name:  "exporter refused",
		begin: func(s *Setting) { s.Backend.Leave() },
		end: func(s *Setting) {
			listener, err := net.Listen("tcp", s.Backend.Address)
			require.NoError(s.t, err)
			s.Backend.Return(listener)
		},
	},
	{name: "exporter hangs", begin: func(s *Setting) { s.Backend.Hang() }, end: func(s *Setting) { s.Backend.Answer() }},
	{name: "answers 429", begin: func(s *Setting) { s.Backend.Refuse(429) }, end: func(s *Setting) { s.Backend.Answer() }},
	{name: "answers 503", begin: func(s *Setting) { s.Backend.Refuse(503) }, end: func(s *Setting) { s.Backend.Answer() }},
	{name: outage.Undisturbed + ", again"},
	nameServerGone(),
	networkCut(),
	diskFull(),
	{
		name:  "journal damaged",
		begin: func(s *Setting) { s.Backend.Hang() },
		during: func(s *Setting) { // under its feet
			damage(s.t, s.Journal)
			s.Pass(2 * time.Second)
		},
		end: func(s *Setting) { s.Backend.Answer() },
		after: func(s *Setting) { // and it is no reason not to start
			s.Collector.Kill(s.t)
			damage(s.t, s.Journal)
			s.Again()
		},
	},
	{
		name:  "file_storage damaged",
		begin: func(s *Setting) { s.Backend.Refuse(503) },
		during: func(s *Setting) {
			s.Note()
			s.Collector.Kill(s.t)
			files, err := filepath.Glob(filepath.Join(s.Storage, "*"))
			require.NoError(s.t, err)
			require.NotEmpty(s.t, files)
			for _, f := range files {
				damage(s.t, f)
			}
			s.Again()
		},
		end: func(s *Setting) { s.Backend.Answer() },
	},
	{
		name:  "killed and started again",
		begin: func(s *Setting) { s.Backend.Hang() },
		during: func(s *Setting) {
			s.Note()
			s.Collector.Kill(s.t)
			s.givenBack(time.Now())
			s.Again()
		},
		end: func(s *Setting) { s.Backend.Answer() },
	},
	{
		name:  "SIGHUP, valid",
		begin: func(s *Setting) { s.Backend.Refuse(503) },
		during: func(s *Setting) {
			s.Note()
			said := s.runs()
			s.Collector.Signal(s.t, syscall.SIGHUP)
			s.running(said)
		},
		end: func(s *Setting) { s.Backend.Answer() },
	},
	{
		name:  "SIGHUP, invalid",
		begin: func(s *Setting) { s.Backend.Refuse(503) },
		during: func(s *Setting) {
			s.Note()
			good, err := os.ReadFile(s.Config)
			require.NoError(s.t, err)
			require.NoError(s.t, os.WriteFile(s.Config, append([]byte("nonsense: true\n"), good...), 0o600))
			s.Collector.Signal(s.t, syscall.SIGHUP)
			<-s.Collector.Ended() // the Collector shuts down before it reads the new configuration
			s.givenBack(time.Now())
			if strings.Contains(s.Collector.Output(), "failed to shutdown") || strings.Contains(s.Collector.Output(), "panic") {
				s.Fail("the shutdown failed:\n%s", s.Collector.Tail(20))
			}
			require.NoError(s.t, os.WriteFile(s.Config, good, 0o600))
			s.Again()
		},
		end: func(s *Setting) { s.Backend.Answer() },
	},
	{name: outage.Undisturbed + ", at the end"},
}

// TestOutages plays them all. REFLEX_OUTAGE_ONLY plays those whose name contains it.
func TestOutages(t *testing.T) {
	for number, o := range outages {
		if only := os.Getenv("REFLEX_OUTAGE_ONLY"); only != "" && o.name != outage.Undisturbed && !strings.Contains(o.name, only) {
			continue
		}
		t.Run(strings.ReplaceAll(o.name, ",", ""), func(t *testing.T) {
			listen := o.listen
			if listen == nil {
				listen = onLoopback
			}
			s := Prepare(t, listen(t))
			defer s.Report(number, o.name)
			step := func(f func(*Setting)) {
				if f != nil {
					f(s)
				}
			}
			step(o.aim)
			s.Start()
			step(o.begin)
			began := time.Now()
			s.Contain()
			s.Pass(goesOn)
			s.Measured()
			step(o.during)
			s.Pass(time.Second)
			if o.begin != nil {
				s.result.Outage = time.Since(began).Seconds()
			}
			step(o.end)
			s.Arrives()
			step(o.after)
			s.Count()
			s.End()
		})
	}
}

// givenBack waits until the original is back, after whoever held the lease has ended.
func (s *Setting) givenBack(since time.Time) {
	s.t.Helper()
	s.result.TTL = ttl.Seconds()
	for s.Shop.Payment.Get(s.t, "memory.high") != original {
		if time.Since(since) > 3*ttl {
			s.Fail("%v after the collector's end memory.high is still %s", time.Since(since), s.Shop.Payment.Get(s.t, "memory.high"))
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	s.result.Release = time.Since(since).Seconds()
}

func onLoopback(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return listener
}

// damage writes nonsense over the middle of a file and its head.
func damage(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	st, err := f.Stat()
	require.NoError(t, err)
	nonsense := make([]byte, st.Size()*3/4)
	for i := range nonsense {
		nonsense[i] = byte(i * 7)
	}
	_, err = f.WriteAt(nonsense, 0)
	require.NoError(t, err)
}

// nameServerGone: the backend is known by a name, and nobody answers for it any more.
func nameServerGone() played {
	var names *NameServer
	return played{
		name: "DNS gone",
		aim: func(s *Setting) {
			var err error
			names, err = ServeNames()
			require.NoError(s.t, err)
			s.t.Cleanup(names.Close)
			_, port, err := net.SplitHostPort(s.Backend.Address)
			require.NoError(s.t, err)
			s.Target = "backend.example:" + port
			guest.Eventually(s.t, 20*time.Second, func() error { // an outage from the beginning shows nothing
				_, err := net.LookupHost("backend.example")
				return err
			})
		},
		begin: func(s *Setting) {
			names.Gone(true)
			s.Backend.Cut() // or what is connected would not ask
		},
		end: func(*Setting) { names.Gone(false) },
	}
}

// networkCut: the backend is behind a link that goes down.
func networkCut() played {
	var link *Link
	return played{
		name: "network cut",
		listen: func(t *testing.T) net.Listener {
			t.Helper()
			var err error
			link, err = Connect()
			require.NoError(t, err)
			t.Cleanup(link.Close)
			listener, err := link.Listen()
			require.NoError(t, err)
			return listener
		},
		begin: func(s *Setting) { require.NoError(s.t, link.Cut()) },
		end:   func(s *Setting) { require.NoError(s.t, link.Mend()) },
	}
}

// diskFull: there is no room for the journal, and the backend hangs besides.
func diskFull() played {
	const dir = "/small"
	fill := filepath.Join(dir, "fill")
	return played{
		name: "disk full",
		aim: func(s *Setting) {
			require.NoError(s.t, os.MkdirAll(dir, 0o755))
			require.NoError(s.t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"))
			s.t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
			s.Journal = filepath.Join(dir, "journal.db")
		},
		begin: func(s *Setting) {
			s.Backend.Hang()
			f, err := os.Create(fill)
			require.NoError(s.t, err)
			defer f.Close()
			for block := make([]byte, 4096); ; {
				if _, err := f.Write(block); errors.Is(err, unix.ENOSPC) {
					break
				} else if err != nil {
					require.NoError(s.t, err)
				}
			}
			var left unix.Statfs_t
			require.NoError(s.t, unix.Statfs(dir, &left))
			require.Zero(s.t, left.Bavail, fmt.Sprint(left))
		},
		end: func(s *Setting) {
			require.NoError(s.t, os.Remove(fill))
			s.Backend.Answer()
		},
		after: func(s *Setting) { // then it is written again
			guest.Eventually(s.t, time.Minute, func() error {
				var status struct {
					File struct {
						Behind  uint64 `json:"behind"`
						Trouble string `json:"trouble"`
					} `json:"journal_file"`
				}
				if err := get("/status", &status); err != nil {
					return err
				}
				if status.File.Behind > 0 || status.File.Trouble != "" {
					return fmt.Errorf("%d records are not in the file: %s", status.File.Behind, status.File.Trouble)
				}
				return nil
			})
		},
	}
}
