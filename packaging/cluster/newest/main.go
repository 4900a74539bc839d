// An API server of the newest Kubernetes that Debian has the libraries of: its own server for custom resources, and the built-in
// kinds that a gateway and its chart have to do with. These are stored and watched as there, and created strictly fields that they do
// not have are refused; beyond that nothing validates them, and no controller or admission does anything about them. A token is the
// name of who has it, and everybody may do everything.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"

	"github.com/spf13/pflag"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	customresources "k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apiextensions-apiserver/pkg/cmd/server/options"
	generatedopenapi "k8s.io/apiextensions-apiserver/pkg/generated/openapi"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/names"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

type kind struct {
	plural     string
	namespaced bool
	object     runtime.Object
	list       runtime.Object
}

var groups = map[schema.GroupVersion][]kind{
	corev1.SchemeGroupVersion: {
		{"namespaces", false, &corev1.Namespace{}, &corev1.NamespaceList{}},
		{"nodes", false, &corev1.Node{}, &corev1.NodeList{}},
		{"services", true, &corev1.Service{}, &corev1.ServiceList{}},
		{"pods", true, &corev1.Pod{}, &corev1.PodList{}},
		{"secrets", true, &corev1.Secret{}, &corev1.SecretList{}},
		{"configmaps", true, &corev1.ConfigMap{}, &corev1.ConfigMapList{}},
		{"serviceaccounts", true, &corev1.ServiceAccount{}, &corev1.ServiceAccountList{}},
	},
	discoveryv1.SchemeGroupVersion: {
		{"endpointslices", true, &discoveryv1.EndpointSlice{}, &discoveryv1.EndpointSliceList{}},
	},
	coordinationv1.SchemeGroupVersion: {
		{"leases", true, &coordinationv1.Lease{}, &coordinationv1.LeaseList{}},
	},
	eventsv1.SchemeGroupVersion: {
		{"events", true, &eventsv1.Event{}, &eventsv1.EventList{}},
	},
	appsv1.SchemeGroupVersion: {
		{"deployments", true, &appsv1.Deployment{}, &appsv1.DeploymentList{}},
		{"daemonsets", true, &appsv1.DaemonSet{}, &appsv1.DaemonSetList{}},
	},
	autoscalingv2.SchemeGroupVersion: {
		{"horizontalpodautoscalers", true, &autoscalingv2.HorizontalPodAutoscaler{}, &autoscalingv2.HorizontalPodAutoscalerList{}},
	},
	policyv1.SchemeGroupVersion: {
		{"poddisruptionbudgets", true, &policyv1.PodDisruptionBudget{}, &policyv1.PodDisruptionBudgetList{}},
	},
	rbacv1.SchemeGroupVersion: {
		{"roles", true, &rbacv1.Role{}, &rbacv1.RoleList{}},
		{"rolebindings", true, &rbacv1.RoleBinding{}, &rbacv1.RoleBindingList{}},
		{"clusterroles", false, &rbacv1.ClusterRole{}, &rbacv1.ClusterRoleList{}},
		{"clusterrolebindings", false, &rbacv1.ClusterRoleBinding{}, &rbacv1.ClusterRoleBindingList{}},
	},
	admissionregistrationv1.SchemeGroupVersion: {
		{"validatingwebhookconfigurations", false, &admissionregistrationv1.ValidatingWebhookConfiguration{}, &admissionregistrationv1.ValidatingWebhookConfigurationList{}},
		{"mutatingwebhookconfigurations", false, &admissionregistrationv1.MutatingWebhookConfiguration{}, &admissionregistrationv1.MutatingWebhookConfigurationList{}},
	},
}

// The groups of crds.yaml, and that of such definitions: they are told of beside the built-in kinds.
var customGroups = []string{"apiextensions.k8s.io", "networking.istio.io", "security.istio.io"}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func kindOf(object runtime.Object) string { return reflect.TypeOf(object).Elem().Name() }

func fresh(object runtime.Object) runtime.Object {
	return reflect.New(reflect.TypeOf(object).Elem()).Interface().(runtime.Object)
}

// The types of one version are those within, too: there is nothing to convert.
func newScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for version, kinds := range groups {
		metav1.AddToGroupVersion(scheme, version)
		internal := schema.GroupVersion{Group: version.Group, Version: runtime.APIVersionInternal}
		for _, kind := range kinds {
			for _, object := range []runtime.Object{kind.object, kind.list} {
				scheme.AddKnownTypes(version, object)
				scheme.AddKnownTypes(internal, object)
			}
		}
	}
	unversioned := schema.GroupVersion{Version: "v1"}
	metav1.AddToGroupVersion(scheme, unversioned)
	scheme.AddUnversionedTypes(unversioned, &metav1.Status{}, &metav1.APIVersions{}, &metav1.APIGroupList{}, &metav1.APIGroup{},
		&metav1.APIResourceList{})
	return scheme
}

// strategy takes everything as it comes.
type strategy struct {
	runtime.ObjectTyper
	names.NameGenerator
	namespaced bool
}

func (s strategy) NamespaceScoped() bool                                          { return s.namespaced }
func (strategy) PrepareForCreate(context.Context, runtime.Object)                 {}
func (strategy) PrepareForUpdate(context.Context, runtime.Object, runtime.Object) {}
func (strategy) Validate(context.Context, runtime.Object) field.ErrorList         { return nil }
func (strategy) WarningsOnCreate(context.Context, runtime.Object) []string        { return nil }
func (strategy) Canonicalize(runtime.Object)                                      {}
func (strategy) AllowCreateOnUpdate() bool                                        { return false }
func (strategy) AllowUnconditionalUpdate() bool                                   { return true }
func (strategy) ValidateUpdate(context.Context, runtime.Object, runtime.Object) field.ErrorList {
	return nil
}
func (strategy) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}

func storageOf(scheme *runtime.Scheme, group string, kind kind, options generic.RESTOptionsGetter) rest.Storage {
	strategy := strategy{scheme, names.SimpleNameGenerator, kind.namespaced}
	resource := schema.GroupResource{Group: group, Resource: kind.plural}
	attributes := storage.DefaultNamespaceScopedAttr
	if !kind.namespaced {
		attributes = storage.DefaultClusterScopedAttr
	}
	store := &registry.Store{
		NewFunc:                   func() runtime.Object { return fresh(kind.object) },
		NewListFunc:               func() runtime.Object { return fresh(kind.list) },
		DefaultQualifiedResource:  resource,
		SingularQualifiedResource: schema.GroupResource{Group: group, Resource: strings.ToLower(kindOf(kind.object))},
		CreateStrategy:            strategy,
		UpdateStrategy:            strategy,
		DeleteStrategy:            strategy,
		TableConvertor:            rest.NewDefaultTableConvertor(resource),
		PredicateFunc: func(label labels.Selector, field fields.Selector) storage.SelectionPredicate {
			return storage.SelectionPredicate{Label: label, Field: field, GetAttrs: attributes}
		},
	}
	check(store.CompleteWithOptions(&generic.StoreOptions{RESTOptions: options}))
	return store
}

// What types look like, as far as applying takes it: their metadata is known, and the rest is whatever comes.
func definitions(scheme *runtime.Scheme) common.GetOpenAPIDefinitions {
	return func(reference common.ReferenceCallback) map[string]common.OpenAPIDefinition {
		all := generatedopenapi.GetOpenAPIDefinitions(reference)
		to := func(name string) spec.Schema { return spec.Schema{SchemaProps: spec.SchemaProps{Ref: reference(name)}} }
		ofObject, ofList := metav1.ObjectMeta{}.OpenAPIModelName(), metav1.ListMeta{}.OpenAPIModelName()
		for version, kinds := range groups {
			for _, kind := range kinds {
				name, item := nameOf(scheme, version, kind.object), to(nameOf(scheme, version, kind.object))
				all[name] = definition(map[string]spec.Schema{"metadata": to(ofObject)}, ofObject)
				list := map[string]spec.Schema{"metadata": to(ofList), "items": *spec.ArrayProperty(&item)}
				all[nameOf(scheme, version, kind.list)] = definition(list, ofList, name)
			}
		}
		return all
	}
}

func nameOf(scheme *runtime.Scheme, version schema.GroupVersion, object runtime.Object) string {
	name, err := scheme.ToOpenAPIDefinitionName(version.WithKind(kindOf(object)))
	check(err)
	return name
}

func definition(properties map[string]spec.Schema, dependencies ...string) common.OpenAPIDefinition {
	for _, name := range []string{"apiVersion", "kind"} {
		properties[name] = *spec.StringProperty()
	}
	return common.OpenAPIDefinition{
		Schema: spec.Schema{
			SchemaProps:      spec.SchemaProps{Type: []string{"object"}, Properties: properties},
			VendorExtensible: spec.VendorExtensible{Extensions: spec.Extensions{"x-kubernetes-preserve-unknown-fields": true}},
		},
		Dependencies: dependencies,
	}
}

// The built-in kinds, and behind them what `delegate` has.
func builtIn(config genericapiserver.RecommendedConfig, etcd genericoptions.EtcdOptions, delegate genericapiserver.DelegationTarget) *genericapiserver.GenericAPIServer {
	scheme := newScheme()
	codecs := serializer.NewCodecFactory(scheme)
	config.EnableDiscovery = true
	config.Serializer = codecs
	namer := openapinamer.NewDefinitionNamer(scheme, customresources.Scheme)
	config.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(definitions(scheme), namer)
	server, err := config.Complete().New("built-in", delegate)
	check(err)
	etcd.StorageConfig.Prefix = "/registry/built-in"
	etcd.StorageConfig.StorageObjectCountTracker = config.StorageObjectCountTracker
	for version, kinds := range groups {
		etcd := etcd
		etcd.StorageConfig.Codec = codecs.LegacyCodec(version)
		factory := &genericoptions.SimpleStorageFactory{StorageConfig: etcd.StorageConfig}
		options := etcd.CreateRESTOptionsGetter(factory, config.ResourceTransformers)
		storages := map[string]rest.Storage{}
		for _, kind := range kinds {
			storages[kind.plural] = storageOf(scheme, version.Group, kind, options)
		}
		group := genericapiserver.NewDefaultAPIGroupInfo(version.Group, scheme, metav1.ParameterCodec, codecs)
		group.PrioritizedVersions = []schema.GroupVersion{version}
		group.VersionedResourcesStorageMap[version.Version] = storages
		if version.Group == "" {
			check(server.InstallLegacyAPIGroup(genericapiserver.DefaultLegacyAPIPrefix, &group))
		} else {
			check(server.InstallAPIGroup(&group))
		}
	}
	for _, name := range customGroups {
		version := metav1.GroupVersionForDiscovery{GroupVersion: name + "/v1", Version: "v1"}
		group := metav1.APIGroup{Name: name, Versions: []metav1.GroupVersionForDiscovery{version}, PreferredVersion: version}
		server.DiscoveryGroupManager.AddGroup(group)
	}
	return server
}

func authenticate(request *http.Request) (*authenticator.Response, bool, error) {
	who := &user.DefaultInfo{Name: user.Anonymous, Groups: []string{user.AllUnauthenticated}}
	if name, ok := strings.CutPrefix(request.Header.Get("Authorization"), "Bearer "); ok {
		who = &user.DefaultInfo{Name: name, Groups: []string{user.AllAuthenticated}}
	}
	if strings.HasPrefix(who.Name, "system:serviceaccount:") {
		who.Groups = append(who.Groups, "system:serviceaccounts")
	}
	return &authenticator.Response{User: who}, true, nil
}

// Both tell of all types: kubectl asks what an object is before it sends one.
func tellTypes(server, custom *genericapiserver.GenericAPIServer) {
	const path = "apis/apiextensions.k8s.io/v1"
	answer := httptest.NewRecorder()
	custom.Handler.NonGoRestfulMux.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/openapi/v3/"+path, nil))
	types := &spec3.OpenAPI{}
	check(json.Unmarshal(answer.Body.Bytes(), types))
	server.OpenAPIV3VersionedService.UpdateGroupVersion(path, types)
	custom.OpenAPIV3VersionedService = server.OpenAPIV3VersionedService
}

func main() {
	ctx := genericapiserver.SetupSignalContext()
	o := options.NewCustomResourceDefinitionsServerOptions(os.Stdout, os.Stderr)
	flags := pflag.NewFlagSet("kube-apiserver", pflag.ExitOnError)
	o.AddFlags(flags)
	check(flags.Parse(os.Args[1:]))
	o.RecommendedOptions.Authentication = nil
	o.RecommendedOptions.Authorization = nil
	o.RecommendedOptions.Admission = nil
	o.RecommendedOptions.Features.EnablePriorityAndFairness = false
	check(o.ServerRunOptions.ComponentGlobalsRegistry.Set())
	check(o.Complete())
	config, err := o.Config()
	check(err)
	config.GenericConfig.Authentication.Authenticator = authenticator.RequestFunc(authenticate)
	config.GenericConfig.Authorization.Authorizer = authorizerfactory.NewAlwaysAllowAuthorizer()
	config.GenericConfig.AggregatedDiscoveryGroupManager = aggregated.NewResourceManager("apis")
	custom, err := config.Complete().New(genericapiserver.NewEmptyDelegate())
	check(err)
	server := builtIn(*config.GenericConfig, *o.RecommendedOptions.Etcd, custom.GenericAPIServer)
	prepared := server.PrepareRun()
	tellTypes(server, custom.GenericAPIServer)
	check(prepared.RunWithContext(ctx))
}
