{{/* The webhook's own objects: no selector of the gateway's finds its pods. */}}
{{- define "tidegate.webhookName" -}}
{{ .Values.name }}-webhook
{{- end }}

{{/* Never the gateway's, which may read all Secrets of its own: one of them has the key of the webhook's authority. */}}
{{- define "tidegate.webhookNamespace" -}}
{{- $namespace := required "webhook.namespace has to name a namespace" .Values.webhook.namespace -}}
{{- if eq $namespace .Release.Namespace -}}
{{- fail (printf "webhook.namespace has to be another than the release's, %s: the gateway may read all Secrets there, and the key of the webhook's authority is one" $namespace) -}}
{{- end -}}
{{ $namespace }}
{{- end }}

{{- define "tidegate.webhookSelector" -}}
app: {{ include "tidegate.webhookName" . }}
{{- end }}

{{- define "tidegate.webhookLabels" -}}
{{ include "tidegate.webhookSelector" . }}
app.kubernetes.io/name: {{ include "tidegate.webhookName" . }}
app.kubernetes.io/component: webhook
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: tidegate
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "tidegate.webhookImage" -}}
{{- with .Values.webhook.injection.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The bootstrap file of `gateway webhook`. */}}
{{- define "tidegate.webhookBootstrap" -}}
{{- $configuration := list (include "tidegate.clusterName" .) -}}
{{- $webhook := .Values.webhook -}}
{{- $name := include "tidegate.webhookName" . -}}
{{- $injection := merge (dict "image" (include "tidegate.webhookImage" .)) $webhook.injection.config -}}
{{- $sections := dict
    "webhook" (dict
        "address" (include "tidegate.socket" (dict "Values" .Values "port" 15017))
        "namespace" (include "tidegate.webhookNamespace" .)
        "service" $name
        "secret" $name
        "validating-configurations" (ternary $configuration list $webhook.validation.enabled)
        "mutating-configurations" (ternary $configuration list $webhook.injection.enabled))
    "injection" $injection
    "status" (dict "address" (include "tidegate.socket" (dict "Values" .Values "port" 15021)))
    "metrics" (dict "address" (include "tidegate.socket" (dict "Values" .Values "port" 15020)))
    "drain" (dict "delay" "5s" "timeout" "30s")
-}}
{{- range $name, $section := $sections }}
[{{ $name }}]
{{- range $key, $value := $section }}
{{ include "tidegate.tomlKey" $key }} = {{ include "tidegate.toml" $value }}
{{- end }}
{{ end -}}
{{- end }}

{{/* How an API server reaches it. Whom it trusts there is told by the webhook itself. */}}
{{- define "tidegate.webhookClient" -}}
admissionReviewVersions: [v1]
sideEffects: None
matchPolicy: Equivalent
clientConfig:
  service:
    name: {{ include "tidegate.webhookName" . }}
    namespace: {{ include "tidegate.webhookNamespace" . }}
    path: {{ .path }}
    port: 443
{{- end }}
