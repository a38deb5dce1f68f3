// Package worker binds the names of the contract to code: one worker for each
// task queue, with the activities of that queue and no others, and the relay
// that starts what the outbox holds.
//
// Invariant: every workflow and activity of the contract is bound once for
// each queue that serves it, and a worker of a region holds no key and reaches
// no registry. What is missing is found when the process starts, not when the
// first task arrives.
package worker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/opentelemetry"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/log"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/atom-fabric/fabric/contract"
	"github.com/atom-fabric/fabric/internal/telemetry"
)

// ErrAttributes says that the namespace lacks search attributes and that this
// process may not add them.
var ErrAttributes = errors.New("search attributes are missing and could not be added")

// Options say which Temporal to speak to.
type Options struct {
	Address   string        // host:port
	Namespace string        // made if it is missing
	Retention time.Duration // of a namespace that is made; 0 means three days
	TLS       *tls.Config   // nil: plain, for loopback only
	Telemetry *telemetry.Telemetry
}

// Dial connects, and sees to it that the namespace and the search attributes
// of the contract exist. Every process may do so: what exists is left alone.
func Dial(ctx context.Context, opts Options) (client.Client, error) {
	settings, err := opts.client()
	if err != nil {
		return nil, err
	}
	if err := ensureNamespace(ctx, settings, opts.Retention); err != nil {
		return nil, fmt.Errorf("temporal: namespace %s: %w", opts.Namespace, err)
	}
	c, err := client.DialContext(ctx, settings)
	if err != nil {
		return nil, fmt.Errorf("temporal: %w", err)
	}
	if err := ensureAttributes(ctx, c, opts.Namespace); err != nil {
		c.Close()
		return nil, fmt.Errorf("temporal: namespace %s: %w", opts.Namespace, err)
	}
	return c, nil
}

// Lazy returns a client that connects when it is first used, for processes
// that must answer while Temporal is away.
func Lazy(opts Options) (client.Client, error) {
	settings, err := opts.client()
	if err != nil {
		return nil, err
	}
	c, err := client.NewLazyClient(settings)
	if err != nil {
		return nil, fmt.Errorf("temporal: %w", err)
	}
	return c, nil
}

// client returns the settings with tracing in both directions: a worker that
// is made from the client inherits the interceptor, and must not add its own.
func (o Options) client() (client.Options, error) {
	tracing, err := opentelemetry.NewTracingInterceptor(opentelemetry.TracerOptions{
		Tracer:            o.Telemetry.Tracers.Tracer("temporal"),
		TextMapPropagator: telemetry.Propagator(),
	})
	if err != nil {
		return client.Options{}, fmt.Errorf("temporal: tracing: %w", err)
	}
	quiet := o.Telemetry.Log.With("component", "temporal")
	return client.Options{
		HostPort:     o.Address,
		Namespace:    o.Namespace,
		Logger:       log.NewStructuredLogger(quiet),
		Interceptors: []interceptor.ClientInterceptor{tracing},
		MetricsHandler: opentelemetry.NewMetricsHandler(opentelemetry.MetricsHandlerOptions{
			Meter:                o.Telemetry.Meters.Meter("temporal-sdk-go"),
			OnError:              func(err error) { quiet.Error("metric", "err", err) }, // the default panics
			UseMonotonicCounters: true,                                                  // else counters are exported as gauges
		}),
		ConnectionOptions: client.ConnectionOptions{TLS: o.TLS},
	}, nil
}

// ensureNamespace makes the namespace if there is none, and waits until the
// front end has read it: it answers "not found" for some seconds more.
func ensureNamespace(ctx context.Context, settings client.Options, retention time.Duration) error {
	if retention == 0 {
		retention = 3 * 24 * time.Hour
	}
	namespaces, err := client.NewNamespaceClient(settings)
	if err != nil {
		return err
	}
	defer namespaces.Close()
	var missing *serviceerror.NamespaceNotFound
	_, err = namespaces.Describe(ctx, settings.Namespace)
	if !errors.As(err, &missing) {
		return err
	}
	err = namespaces.Register(ctx, &workflowservice.RegisterNamespaceRequest{
		Namespace:                        settings.Namespace,
		WorkflowExecutionRetentionPeriod: durationpb.New(retention),
	})
	var exists *serviceerror.NamespaceAlreadyExists
	if err != nil && !errors.As(err, &exists) { // another process was first
		return err
	}
	return nil
}

// ensureAttributes adds the search attributes that are missing. A namespace
// that was just made is not known everywhere at once, so it is asked again for
// a while.
func ensureAttributes(ctx context.Context, c client.Client, namespace string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		err := addAttributes(ctx, c, namespace)
		var away *serviceerror.NamespaceNotFound
		if err == nil || !errors.As(err, &away) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func addAttributes(ctx context.Context, c client.Client, namespace string) error {
	known, err := c.OperatorService().ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: namespace})
	if err != nil {
		return err
	}
	missing := map[string]enums.IndexedValueType{}
	for name, kind := range attributes() {
		if _, ok := known.GetCustomAttributes()[name]; !ok {
			missing[name] = kind
		}
	}
	if len(missing) == 0 {
		return nil
	}
	_, err = c.OperatorService().AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{
		Namespace:        namespace,
		SearchAttributes: missing,
	})
	var exists *serviceerror.AlreadyExists
	var denied *serviceerror.PermissionDenied
	switch {
	case err == nil || errors.As(err, &exists): // another process was first
		return nil
	case errors.As(err, &denied):
		return fmt.Errorf("%w: %w", ErrAttributes, err)
	default:
		return err
	}
}

// attributes are the search attributes of the contract with their types.
func attributes() map[string]enums.IndexedValueType {
	return map[string]enums.IndexedValueType{
		contract.AttrTenant.GetName():   contract.AttrTenant.GetValueType(),
		contract.AttrModel.GetName():    contract.AttrModel.GetValueType(),
		contract.AttrStage.GetName():    contract.AttrStage.GetValueType(),
		contract.AttrRisk.GetName():     contract.AttrRisk.GetValueType(),
		contract.AttrApproval.GetName(): contract.AttrApproval.GetValueType(),
	}
}
