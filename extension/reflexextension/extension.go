// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension"
	"go.uber.org/zap"

	"github.com/otelcol-reflex/reflex/extension/reflexextension/internal/metadata"
	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/episode"
	"github.com/otelcol-reflex/reflex/internal/policy"
	"github.com/otelcol-reflex/reflex/internal/webhook"
)

// releaseWithin bounds the release of held leases at Shutdown.
const releaseWithin = 2 * time.Second

var (
	_ extension.Extension = (*reflex)(nil)
	_ arc.Meeting         = (*reflex)(nil)
	_ arc.Reporter        = (*reflex)(nil)
)

// reflex is the extension. Its fields fall into three groups: what Start makes
// and nobody changes, what the sampling goroutine owns (reached through mu, for
// the sake of Shutdown only), and what is shared by atomics and small locks.
type reflex struct {
	cfg    *Config
	id     component.ID
	logger *zap.Logger
	build  component.BuildInfo
	tel    *metadata.TelemetryBuilder
	clock  func() int64
	wall   func() time.Time
	open   func(*reflex) (link, error)

	journal  *episode.Journal
	mailbox  *mailbox
	answers  *answers
	control  arc.ControlWord
	executor *executor
	insp     *inspector
	// blind is why there is no inspector. powerless says why nothing can be
	// contained, whatever the guard answers, "" where something can. Both are
	// written by Start.
	blind     error
	powerless string
	page      *page
	operators *operators
	deaf      string // why operators are not listened to, "" where they are

	seatsMu sync.Mutex
	seats   atomic.Pointer[map[string]*seat]
	leading atomic.Pointer[string] // the source whose judgements become levels

	reports  reports
	unjudged unjudged
	doubts   atomic.Pointer[[]need] // of what becomes of episodes downstream

	mu      sync.Mutex // held for a whole tick; nobody but Shutdown contends
	policy  *policy.Policy
	closing bool
	episode episode.ID
	opened  int64 // when the episode was opened (boottime)

	operations operations // of operators, for the next tick
	ledger     ledger

	snap      snapshots
	history   history
	library   library // of the page and of the operators' socket
	level     atomic.Int64
	episodes  atomic.Int64
	observed  atomic.Int64 // when Observe last ran (boottime), 0 for never
	interval  atomic.Int64 // the longest that the next sample may take
	missed    atomic.Uint64
	stale     atomic.Bool
	durations durations

	keeper  *keeper
	hooks   []*webhook.Hook // written by Start
	host    component.Host
	cancel  context.CancelFunc
	workers sync.WaitGroup
	once    sync.Once
}

// seat is a source's place at the meeting.
type seat struct {
	owner   string
	engine  arc.Engine
	sampled atomic.Bool // a sample has come for it
}

func newReflex(set extension.Settings, cfg *Config) (*reflex, error) {
	tel, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, fmt.Errorf("make telemetry of %s: %w", set.ID, err)
	}
	r := &reflex{
		cfg:     cfg,
		id:      set.ID,
		logger:  set.Logger,
		build:   set.BuildInfo,
		tel:     tel,
		clock:   boottime,
		wall:    time.Now,
		open:    openLink,
		journal: episode.NewJournal(cfg.Journal.Capacity),
		mailbox: newMailbox(),
		answers: &answers{},
	}
	r.seats.Store(&map[string]*seat{})
	return r, nil
}

// Start finds the cgroups, links the guard and serves the status page. A guard
// that does not answer is no reason not to start; a guard that cannot be, an
// address in use or an impossible cgroup_root is.
func (r *reflex) Start(_ context.Context, host component.Host) error {
	r.host = host
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	if err := r.start(ctx); err != nil { //nolint:contextcheck // background work outlives the context of Start
		r.stop(context.Background()) //nolint:contextcheck // as above
		return err
	}
	return nil
}

func (r *reflex) start(ctx context.Context) error {
	r.keep(ctx)
	var err error
	if r.insp, err = newInspector(r.cfg.CgroupRoot); err != nil {
		if r.cfg.CgroupRoot != "" {
			return fmt.Errorf("cgroup_root: %w", err)
		}
		r.logger.Warn("no cgroup can be inspected, so none will be contained", zap.Error(err))
	}
	r.blind, r.powerless = err, powerless(r.insp, err)
	own := ownCgroup()
	safelist, err := policy.NewSafelist(r.cfg.Safelist, own)
	if err != nil {
		return fmt.Errorf("safelist: %w", err)
	}
	rules := r.cfg.rules()
	rules.NodeTasks, rules.Own = nodeTasks("/proc"), r.insp.id(own)
	r.policy = policy.New(rules, safelist)
	way, err := r.open(r)
	if err != nil {
		return fmt.Errorf("guard: %w", err)
	}
	r.executor = newExecutor(r, way)
	if err := r.register(); err != nil {
		return fmt.Errorf("register telemetry: %w", err)
	}
	if r.page, err = newPage(r); err != nil {
		return fmt.Errorf("status::endpoint: %w", err)
	}
	if r.operators, err = newOperators(r, newReads(r)); err != nil { // the arc does not need it
		r.deaf = err.Error()
		r.logger.Warn("operators are not listened to: reflexctl release and the like work through the guard only", zap.Error(err))
	}
	r.tellWebhooks(ctx)
	r.page.serve() // when all that it shows is there
	r.workers.Go(func() { r.executor.run(ctx) })
	r.workers.Go(func() { r.watch(ctx) })
	r.workers.Go(func() { r.narrate(ctx) })
	r.logger.Info("reflex arc ready", zap.String("mode", r.cfg.Mode), zap.String("guard", r.cfg.Guard), zap.String("own_cgroup", own))
	return nil
}

// Shutdown releases what is held and stops. It is safe without Start and twice,
// and never fails: an error here would end a collector that reloads.
func (r *reflex) Shutdown(ctx context.Context) error {
	r.stop(ctx)
	return nil
}

func (r *reflex) stop(ctx context.Context) {
	r.once.Do(func() {
		r.mu.Lock()
		r.closing = true
		var orders []arc.Order
		if r.policy != nil {
			orders = r.policy.ReleaseAll(nil)
		}
		r.mu.Unlock()
		if r.cancel != nil {
			r.cancel()
		}
		r.workers.Wait()
		if r.executor != nil {
			release, cancel := context.WithTimeout(ctx, releaseWithin)
			r.executor.finish(release, orders)
			cancel()
		}
		var errs []error
		if r.page != nil {
			errs = append(errs, r.page.close()) //nolint:contextcheck // bounded by itself
		}
		if r.operators != nil {
			errs = append(errs, r.operators.close()) //nolint:contextcheck // bounded by itself
		}
		if r.insp != nil {
			errs = append(errs, r.insp.Close())
		}
		r.keeper.stop(r.logger)
		if err := errors.Join(errs...); err != nil {
			r.logger.Warn("reflex did not stop cleanly", zap.Error(err))
		}
		r.tel.Shutdown()
	})
}

// Journal returns the journal of episodes.
func (r *reflex) Journal() *episode.Journal { return r.journal }

// Control implements [arc.Meeting].
func (r *reflex) Control() arc.Control { return r.control.Load() }

// Register implements [arc.Meeting]. The first source registered is the one
// whose judgements become levels; others are judged only.
func (r *reflex) Register(source, owner string, engine arc.Engine) (release func(), err error) {
	if source == "" || engine == nil {
		return nil, errors.New("register an engine: source and engine must be given")
	}
	r.seatsMu.Lock()
	defer r.seatsMu.Unlock()
	old := *r.seats.Load()
	if held, taken := old[source]; taken {
		return nil, fmt.Errorf("register %s as judge of source %q: %s is its judge already", owner, source, held.owner)
	}
	mine := &seat{owner: owner, engine: engine}
	r.reseat(func(seats map[string]*seat) { seats[source] = mine })
	r.unjudged.forget(source)
	if r.leading.Load() == nil {
		r.leading.Store(&source)
	} else {
		r.logger.Warn("another source leads the policy; this one is judged only",
			zap.String("source", source), zap.String("leading", *r.leading.Load()))
	}
	return sync.OnceFunc(func() {
		r.seatsMu.Lock()
		defer r.seatsMu.Unlock()
		r.reseat(func(seats map[string]*seat) { delete(seats, source) })
	}), nil
}

// reseat publishes a changed copy of the seats. The caller holds seatsMu.
func (r *reflex) reseat(change func(map[string]*seat)) {
	seats := map[string]*seat{}
	for k, v := range *r.seats.Load() {
		seats[k] = v
	}
	change(seats)
	r.seats.Store(&seats)
}

// register connects the asynchronous instruments.
func (r *reflex) register() error {
	return errors.Join(
		r.tel.RegisterReflexLevelCallback(observeInt(r.level.Load)),
		r.tel.RegisterReflexEpisodesCallback(observeInt(r.episodes.Load)),
		r.tel.RegisterReflexMailboxDroppedCallback(observeInt(r.mailbox.dropped.Load)),
		r.tel.RegisterReflexMailboxReplacedCallback(observeInt(r.mailbox.replaced.Load)),
		r.tel.RegisterReflexPacketsCallback(r.executor.packets.observe),
		r.tel.RegisterReflexStaleCallback(observeInt(func() int64 {
			if r.stale.Load() {
				return 1
			}
			return 0
		})),
	)
}
